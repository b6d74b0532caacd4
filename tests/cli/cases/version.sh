# valgrind
q --version
