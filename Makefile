# Makefile - build, test, install quern. `make help` lists what there is.

MAKEFLAGS += --no-builtin-rules

PREFIX ?= /usr/local
CC ?= cc
# Set by the sanitizer and debug jobs; never -ffast-math, never -march=native.
OPT ?= -O2 -g
KERNEL_OPT ?= -O3
SAN ?=
# What finds overflows at run time; sanitizers find more.
HARDEN ?= $(if $(SAN),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong)
CLANG ?= clang
B ?= build

VERSION := $(shell sed -n 's/.*QUERN_VERSION *"\(.*\)"/\1/p' include/quern.h)
SOVERSION := 0
ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
        -Wundef -Wwrite-strings -Wvla -Wconversion -Werror
# The bytes quern writes depend on -ffp-contract=off.
CFLAGS_ALL := -std=gnu11 $(OPT) $(WARN) -fPIC -fvisibility=hidden -ffp-contract=off \
              -fno-math-errno -pthread -D_GNU_SOURCE -Iinclude -I. $(SAN) $(CFLAGS)
PKGS := libcjson yaml-0.1 libpcre2-8 libzstd
PKG_LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null || echo -lcjson -lyaml -lpcre2-8 -lzstd)
LIBS = $(PKG_LIBS) -lm -pthread $(SAN) $(LDFLAGS)

LIB_SRC := $(wildcard core/*.c formats/*.c quant/*.c pipeline/*.c merge/*.c convert/*.c)
CLI_SRC := $(wildcard cli/*.c)
TEST_SRC := $(wildcard tests/test_*.c)
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SHARED := $(filter-out %/libfuzzer.c tests/fuzz/fuzz_%.c,$(wildcard tests/fuzz/*.c))
FUZZ_SRC := $(FUZZ_NAMES:%=tests/fuzz/fuzz_%.c) $(FUZZ_SHARED)

ifneq ($(filter x86_64,$(ARCH)),)
ISAS := portable avx2 avx512
else
ISAS := portable
endif
ISA_FLAGS_portable :=
ISA_FLAGS_avx2 := -mavx2 -mf16c
ISA_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mf16c -mprefer-vector-width=512
KERNEL_OBJ := $(ISAS:%=$(B)/quant/kernels/kernels_%.o)

LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o) $(KERNEL_OBJ)
CLI_OBJ := $(CLI_SRC:%.c=$(B)/%.o)
TEST_OBJ := $(TEST_SRC:%.c=$(B)/%.o)
FUZZ_OBJ := $(FUZZ_SRC:%.c=$(B)/%.o)

# `make V=1` shows the commands.
Q := $(if $(V),,@)

all: $(B)/quern $(B)/libquern.a $(B)/libquern.so

help:
	@echo "make            build/quern, build/libquern.a, build/libquern.so"
	@echo "make demo       install what is missing, build, merge and quantize a small real model"
	@echo "make test       install what is missing, build, run all tests"
	@echo "make pocket     build/pocket: the models of tests/data/pocket as plain files"
	@echo "make install    to PREFIX=$(PREFIX) under DESTDIR"

# ---- objects
$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(CFLAGS_ALL) $(HARDEN) $(OBJ_FLAGS) -MMD -MP -c $< -o $@

# Kernels: one source, one object and one symbol per instruction set.
$(KERNEL_OBJ): $(B)/quant/kernels/kernels_%.o: quant/kernels/kernels.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) $(CFLAGS_ALL) $(KERNEL_OPT) $(ISA_FLAGS_$*) -DKERNELS_ISA=$* -MMD -MP -c $< -o $@

# ---- library: internal names stay inside
$(B)/libquern.o: $(LIB_OBJ)
	$(Q)$(CC) -r -nostdlib $^ -o $@.tmp
	$(Q)objcopy --wildcard --keep-global-symbol='quern_*' $@.tmp $@
	@rm -f $@.tmp

$(B)/libquern.a: $(B)/libquern.o
	@rm -f $@
	@echo "  AR   $@"
	$(Q)ar rcs $@ $<

$(B)/libquern.so: $(LIB_OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) -shared -Wl,-soname,libquern.so.$(SOVERSION) -Wl,-z,defs $^ -o $@ $(LIBS)

# The command and the tests use the internal objects, not the sealed library.
$(B)/quern: $(CLI_OBJ) $(LIB_OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ $(LIBS)

# The models of tests/data/pocket as plain files, in one place for all builds; unpacked when a pack is
# newer. RUN goes before a quern that this machine cannot run: RUN="qemu-aarch64 -L ...".
POCKET := build/pocket/made
pocket: $(POCKET)
$(POCKET): $(wildcard tests/data/pocket/*) scripts/pocket.sh | $(B)/quern
	@echo "  UNPACK $(@D)"
	$(Q)QUERN=$(B)/quern RUN="$(RUN)" scripts/pocket.sh

# Of the command all but main().
$(B)/unit-tests: $(TEST_OBJ) $(FUZZ_OBJ) $(filter-out %/quern.o,$(CLI_OBJ)) $(LIB_OBJ) | $(POCKET)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ -lcriterion $(LIBS)

# The same tests without Criterion, for sanitizers that do not get on with it; needs CFLAGS=$(PLAIN).
PLAIN := -Itests/plain
$(B)/plain-tests: $(TEST_OBJ) $(FUZZ_OBJ) $(filter-out %/quern.o,$(CLI_OBJ)) \
    $(B)/tests/plain/plain_tests.o $(LIB_OBJ) | $(POCKET)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ $(LIBS)

# What is said of malformed files: enough to tell a reader that has lost a check (mutants, m32).
MALFORMED := corpus recipe_verdicts mutations mutated_runs imatrix journal core json
$(B)/malformed-tests: $(MALFORMED:%=$(B)/tests/test_%.o) $(LIB_OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ -lcriterion $(LIBS)

# For scripts that put another object in the place of one of these.
malformed-objects:
	@echo $(MALFORMED:%=$(B)/tests/test_%.o) $(LIB_OBJ) -lcriterion $(LIBS)

# The kernels' source at 16 lanes, run with whatever instructions there are.
# Compilers take minutes to optimize that.
$(B)/tests/test_kernels_wide.o: OBJ_FLAGS := -Wno-psabi -O1

# Plain loops that only become vectors at this level.
$(B)/formats/planes.o: OBJ_FLAGS := $(KERNEL_OPT)

# A loop that needs all registers; but unlike kernels the fuzzers look into it.
$(B)/core/literals.o: OBJ_FLAGS := $(filter -O%,$(KERNEL_OPT))

# ---- fuzzing: one program for each target, linked with what it needs. CC must be clang.
$(B)/fuzz/libfuzzed.a: $(LIB_OBJ) $(filter-out %/quern.o,$(CLI_OBJ)) $(FUZZ_SHARED:%.c=$(B)/%.o)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcs $@ $^

# Files of the input are found without the system: tests/fuzz/wrapped_files.c.
FUZZ_WRAPPED := open close stat lstat fstat access pread opendir readdir closedir

$(B)/fuzz/%: $(B)/tests/fuzz/fuzz_%.o $(B)/fuzz/libfuzzed.a tests/fuzz/libfuzzer.c
	@echo "  LINK $@"
	$(Q)$(CC) $(CFLAGS_ALL) -DTARGET=$* tests/fuzz/libfuzzer.c $(filter-out %.c,$^) -o $@ \
	    -fsanitize=fuzzer $(FUZZ_WRAPPED:%=-Wl,--wrap=%) $(LIBS)

# They serve both builds; make would remove them.
.SECONDARY: $(FUZZ_OBJ)

# What they do themselves is no coverage.
$(FUZZ_OBJ): OBJ_FLAGS := $(FUZZ_OBJ_FLAGS)

fuzzers: $(FUZZ_NAMES:%=$(B)/fuzz/%)

# ---- install
COMMANDS := quantize merge convert lora imatrix inspect check compare verify rebuild pack unpack plan run join batch types
MAN_PAGES := $(B)/man/quern.1 $(COMMANDS:%=$(B)/man/quern-%.1)

$(B)/man/quern.1: $(B)/quern
	@mkdir -p $(@D)
	$(Q)$< help man > $@

$(B)/man/quern-%.1: $(B)/quern
	@mkdir -p $(@D)
	$(Q)$< help man $* > $@

$(B)/quern.bash: $(B)/quern
	$(Q)$< help completion > $@

$(B)/quern.pc: Makefile include/quern.h
	@mkdir -p $(@D)
	@printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include' '' \
	    'Name: quern' 'Description: Shrink and fuse model checkpoints' 'Version: $(VERSION)' \
	    'Requires.private: $(PKGS)' 'Libs: -L$${libdir} -lquern' \
	    'Libs.private: -lm -lpthread' 'Cflags: -I$${includedir}' > $@

man: $(MAN_PAGES)

install: all man $(B)/quern.bash $(B)/quern.pc
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include \
	    $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 755 $(B)/quern $(DESTDIR)$(PREFIX)/bin/quern
	install -m 644 include/quern.h $(DESTDIR)$(PREFIX)/include/quern.h
	install -m 644 $(B)/libquern.a $(DESTDIR)$(PREFIX)/lib/libquern.a
	install -m 755 $(B)/libquern.so $(DESTDIR)$(PREFIX)/lib/libquern.so.$(VERSION)
	ln -sf libquern.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libquern.so.$(SOVERSION)
	ln -sf libquern.so.$(SOVERSION) $(DESTDIR)$(PREFIX)/lib/libquern.so
	install -m 644 $(B)/quern.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/quern.pc
	install -m 644 $(MAN_PAGES) $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(B)/quern.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/quern

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/quern $(DESTDIR)$(PREFIX)/include/quern.h \
	    $(DESTDIR)$(PREFIX)/lib/libquern.a $(DESTDIR)$(PREFIX)/lib/libquern.so* \
	    $(DESTDIR)$(PREFIX)/lib/pkgconfig/quern.pc \
	    $(MAN_PAGES:$(B)/man/%=$(DESTDIR)$(PREFIX)/share/man/man1/%) \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/quern

clean:
	rm -rf $(B)

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d) $(B)/bench/bench_kernels.d

.PHONY: all help clean man install uninstall

# ---- scripts
# Use all cores unless this make was told a number of jobs.
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

deps:
	@scripts/install-deps.sh build

test-deps:
	@scripts/install-deps.sh test

# The build runs as a second make: what it needs may only just have been installed.
demo: deps
	@$(SUBMAKE) -s all
	@QUERN=$(B)/quern scripts/demo.sh

# Criterion last: the output ends with its verdict.
test: test-deps
	@$(SUBMAKE) all $(B)/unit-tests
	@QUERN=$(B)/quern tests/cli/run-cases.sh
	@$(B)/unit-tests

lint: all
	@B=$(B) scripts/lint.sh

format:
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format-14 -i

interop: all pocket
	@QUERN=$(B)/quern python3 scripts/interop.py

$(B)/bench-kernels: $(B)/bench/bench_kernels.o $(LIB_OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ $(LIBS)

bench: all $(B)/bench-kernels
	@QUERN=$(B)/quern python3 bench/bench.py

valgrind: all pocket
	@VALGRIND=1 QUERN=$(B)/quern tests/cli/run-cases.sh

# Unit and corpus tests, instrumented, in a directory of their own. Sanitizers make gcc warn where
# there is nothing to warn about.
ASAN = B=$(B)/asan OPT="-O1 -g" KERNEL_OPT=-O1 CFLAGS="-Wno-error -Wno-psabi" \
    SAN="-fsanitize=address,undefined -fno-sanitize-recover=all"
sanitize:
	@$(SUBMAKE) $(ASAN) $(B)/asan/unit-tests
	@QUERN_TEST_ROUNDS=0 UBSAN_OPTIONS=print_stacktrace=1 $(B)/asan/unit-tests

# What runs plans, with many workers.
tsan:
	@$(SUBMAKE) B=$(B)/tsan OPT="-O1 -g" KERNEL_OPT=-O1 CFLAGS="-Wno-error -Wno-psabi $(PLAIN)" SAN=-fsanitize=thread \
	    $(B)/tsan/quern $(B)/tsan/plain-tests
	@B=$(B)/tsan scripts/tsan.sh

# Unit tests and the command line, linked with libraries that are instrumented, too.
msan:
	@MSAN_CC="$(CLANG)" scripts/msan_deps.sh $(B)/msan/deps
	@$(SUBMAKE) CC="$(CLANG)" B=$(B)/msan OPT="-O1 -g" KERNEL_OPT=-O1 PKG_LIBS=$(B)/msan/deps/libdeps.a \
	    CFLAGS="-Wno-error -Wno-psabi $(PLAIN)" \
	    SAN="-fsanitize=memory -fsanitize-memory-track-origins -fno-omit-frame-pointer" \
	    $(B)/msan/quern $(B)/msan/plain-tests
	@B=$(B)/msan scripts/msan.sh

# All of it as another compiler sees it.
clang:
	@$(SUBMAKE) CC="$(CLANG)" B=$(B)/clang $(B)/clang/quern $(B)/clang/libquern.so $(B)/clang/unit-tests
	@$(B)/clang/unit-tests

# The fuzz targets twice: quick, with traps, and slow, with ASan. scripts/fuzz.sh runs them.
# Kernels stay plain: coverage finds nothing in them, and compilers take minutes.
FUZZ_KERNELS = -O2 -fno-sanitize=all
FUZZ_FLAGS = -fno-omit-frame-pointer -Wno-error -Wno-psabi
fuzz: export FUZZ_OBJ_FLAGS = -fno-sanitize=fuzzer-no-link -DFUZZ_WRAPS_FILES
fuzz: pocket
	@$(SUBMAKE) CC="$(CLANG)" B=$(B)/fuzz-quick OPT="-O2 -g" KERNEL_OPT="$(FUZZ_KERNELS)" \
	    CFLAGS="$(FUZZ_FLAGS) -DFUZZ_COUNTS_MALLOC" \
	    SAN="-fsanitize=undefined -fsanitize-trap=undefined -fsanitize=fuzzer-no-link \
	        -fno-sanitize-coverage=trace-cmp" fuzzers
	@$(SUBMAKE) CC="$(CLANG)" B=$(B)/fuzz-asan OPT="-O1 -g" KERNEL_OPT="$(FUZZ_KERNELS)" \
	    CFLAGS="$(FUZZ_FLAGS) -DARENA_ITEMS_APART" \
	    SAN="-fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize=fuzzer-no-link" fuzzers

# The kernels as another architecture compiles them, run under emulation: the same bytes.
CROSS ?= aarch64-linux-gnu
GOLDEN_SRC := tests/golden_bytes.c $(wildcard quant/*.c) core/dtype.c core/str.c core/philox.c core/smath.c
aarch64:
	@mkdir -p $(B)/$(CROSS)
	$(Q)for f in $(filter-out %_api.c,$(GOLDEN_SRC)); do \
	    $(CROSS)-gcc $(CFLAGS_ALL) -Wno-error -c $$f -o $(B)/$(CROSS)/$$(basename $$f .c).o || exit 1; done
	$(Q)$(CROSS)-gcc $(CFLAGS_ALL) $(KERNEL_OPT) -Wno-error -DKERNELS_ISA=portable -c quant/kernels/kernels.c \
	    -o $(B)/$(CROSS)/kernels_portable.o
	$(Q)$(CROSS)-gcc -static $(B)/$(CROSS)/*.o -o $(B)/$(CROSS)/golden-bytes -lm -lpthread
	qemu-$(firstword $(subst -, ,$(CROSS))) $(B)/$(CROSS)/golden-bytes tests/data/quant

# Readers and their tests as a 32-bit program, where sizes of files do not fit size_t. Their
# libraries and Criterion are not needed; gcc-12-multilib will do (gcc-multilib and cross compilers
# exclude each other).
READER_SRC := $(addprefix core/,archive.c arena.c dtype.c error.c hash.c io.c pull.c str.c) \
              $(addprefix formats/,gguf.c gguf_check.c gguf_layout.c imatrix.c imatrix_dat.c model.c model_open.c \
                  safetensors.c shard_index.c sniff.c) tests/plain/no_packs.c
$(B)/bare-%: $(B)/tests/test_%.o $(B)/tests/plain/plain_tests.o $(READER_SRC:%.c=$(B)/%.o)
	@echo "  LINK $@"
	$(Q)$(CC) $^ -o $@ -lm -pthread $(LDFLAGS)

m32:
	@$(SUBMAKE) B=$(B)/m32 LDFLAGS="-m32 -static -Wl,--unresolved-symbols=ignore-all" \
	    CFLAGS="-m32 -msse2 -mfpmath=sse -D_FILE_OFFSET_BITS=64 $(PLAIN) \
	            -idirafter /usr/include/$(ARCH)-linux-gnu" \
	    $(B)/m32/bare-corpus $(B)/m32/bare-mutations
	@$(B)/m32/bare-corpus
	@$(B)/m32/bare-mutations

# Every check of the readers is taken away, one at a time: a test must notice. Minutes.
mutants:
	@$(SUBMAKE) $(B)/malformed-tests
	@B=$(B) scripts/mutants.py

# The whole corpus through the commands. Instrumented: see sanitize.
corpus: all
	@QUERN=$(B)/quern tests/corpus_cli.py
	@$(SUBMAKE) $(ASAN) $(B)/asan/quern
	@QUERN=$(B)/asan/quern tests/corpus_cli.py --plain

# Every system call that a small job makes goes wrong once; allocations also with a search for leaks;
# and runs in bad surroundings. Minutes.
faults: all test-models
	@$(SUBMAKE) $(ASAN) $(B)/asan/quern
	@QUERN=$(B)/quern MODELS=$(B)/test-models python3 tests/faults.py
	@QUERN=$(B)/asan/quern MODELS=$(B)/test-models python3 tests/faults.py --memory
	@QUERN=$(B)/quern MODELS=$(B)/test-models python3 tests/part_faults.py
	@QUERN=$(B)/quern MODELS=$(B)/test-models python3 tests/hazards.py

power-loss: all test-models
	@QUERN=$(B)/quern MODELS=$(B)/test-models python3 tests/power_loss.py

# Every command that writes, interrupted at random moments and resumed. Minutes.
kills: all test-models
	@QUERN=$(B)/quern scripts/kill_resume.py --kills 500 --stops 100 --like $(B)/test-models/hf

# The same bytes from other compilers and levels of optimization as well.
determinism: all pocket
	@$(SUBMAKE) B=$(B)/O0 OPT=-O0 KERNEL_OPT=-O0 HARDEN= CFLAGS=-Wno-error $(B)/O0/quern
	@$(SUBMAKE) B=$(B)/lto OPT="-O3 -flto=auto" CFLAGS=-Wno-error LDFLAGS=-O3 $(B)/lto/quern
	@if command -v $(lastword $(CLANG)) >/dev/null; then \
	    $(SUBMAKE) CC="$(CLANG)" B=$(B)/clang $(B)/clang/quern; else echo "skipped: clang is missing"; fi
	@QUERN=$(B)/quern python3 tests/determinism.py $(foreach b,O0 lto clang,--build $(b)=$(B)/$(b)/quern)

memory: all
	@QUERN=$(B)/quern python3 tests/memory.py

# Divided jobs on a real Slurm, which is started here; needs root, slurm-wlm and munge.
slurm: all pocket
	@QUERN=$(B)/quern python3 tests/slurm.py

test-models:
	@python3 tests/make_models.py $(B)/test-models

# Everything, one part after the other; a table at the end. scripts/check_all.sh PART... for some.
check-all:
	@B=$(B) scripts/check_all.sh

.PHONY: deps test-deps demo test pocket lint format interop bench valgrind sanitize tsan msan clang aarch64 faults \
    power-loss kills fuzz fuzzers determinism memory slurm m32 mutants corpus malformed-objects test-models check-all
