"""One folder per pipeline step: a thin KFP shell around one function of the library."""
