"""Services: tasks, sockets, files and clocks around the pure cores. `app` composes them."""
