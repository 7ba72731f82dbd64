"""Images that a person has, read by a registered model.

predicting.py is where to begin: files, folders and scans become pages (images.py, grey.py), each page an image in MNIST's
form (ink.py, preparing.py), each image a reading, which readings.py shows.
"""
