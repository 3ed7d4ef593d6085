"""A demo tenant, its people and customers, and a show of what the agents' sockets receive.

python -m deploy.local.demo                        start everything, seed, show
python -m deploy.local.demo seed                   only create what is missing
python -m deploy.local.demo watch ana@demo.test    what one agent receives, until Ctrl-C
"""
