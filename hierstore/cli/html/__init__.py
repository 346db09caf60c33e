"""A session or a subtree as one page of HTML that loads nothing, runs nothing, and needs nothing but a browser."""
