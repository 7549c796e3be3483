"""An interactive page on this machine: look up similar cells, see the attention, browse the leaderboard.

    from cytobench.app.server import Address, serve

    serve(bench, Address("127.0.0.1", 8080), first, ready=print)   # returns after Ctrl-C

NiceGUI draws the page (the extra `serve`); it brings all its scripts and styles along and asks nobody else.
Pictures travel inside messages to the one browser that asked for them: no address serves a file of the data.
Importing this package loads neither NiceGUI nor torch.
"""
