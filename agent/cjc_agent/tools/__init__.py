"""Tools: processes, files and kernel facts. They know nothing of JobCenter, layers or clusters."""
