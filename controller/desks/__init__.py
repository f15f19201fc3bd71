"""Where the pure rooms meet sockets, files and clocks: each desk owns one matter."""
