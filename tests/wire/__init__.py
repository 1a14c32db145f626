"""Providers as their real wire formats have them, on real sockets of this machine."""
