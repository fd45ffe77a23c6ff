"""What the kind `http` judges by.

expectation  what an answer must be
details      what is kept of it
json_path    paths into a document, compiled where the file is read
"""
