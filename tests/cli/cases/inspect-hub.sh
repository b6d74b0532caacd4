# A hub cache: the snapshot holds links into blobs/.
q inspect m/hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567
