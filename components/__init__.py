"""One folder per stage of the pipeline: a thin KFP shell around one function of the library."""
