"""The studio: a page on this machine to look and steer. Needs the extra `studio`.

One process: Starlette answers, and one worker thread computes, one job at a time. It is Starlette
and uvicorn, not a kit of ready-made widgets: the page has what no kit has (a strip that fills, a
growing picture, a mask painted by keyboard), is read by a strict content security policy, and asks
for nothing from elsewhere; and a person's files are found in a list, never by a path.
"""
