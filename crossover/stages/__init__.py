"""The steps of a study. Each is one function, which a pipeline component and a command-line verb both call."""
