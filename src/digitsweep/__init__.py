"""How good a dense and a convolutional network can be found on this data and this budget, and is the difference real?"""

__version__ = "0.2.0"
