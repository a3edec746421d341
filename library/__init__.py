"""The library of a server: finished clips, their index, the list of jobs, presets; and the thread for the jobs.

It knows settings and files, and nothing of models or of the page. Clips are the record: their index can be rebuilt from
them at any time. Jobs belong to the server, not to a browser tab, and to an owner: a visitor sees only their own.
"""
