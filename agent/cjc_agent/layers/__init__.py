"""The layers of a running site: disk < vip < site. They know the tools and the settings, not each other."""
