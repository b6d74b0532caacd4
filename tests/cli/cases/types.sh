# valgrind
q types
