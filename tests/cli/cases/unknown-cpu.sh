# QUERN_CPU with a name nobody knows.
export QUERN_CPU=quantum
q types
