"""Redis (a cache: the truth is inbox's) and the directory in memory."""
