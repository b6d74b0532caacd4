#!/usr/bin/env python3
"""lint_tree.py [ROOT] - the house rules a compiler does not know: layering, banned functions, who may print.

Prints FILE:LINE: what is wrong. Reads every .c and .h of the tree with comments and strings blanked out. Standard library only.
"""
import os, re, subprocess, sys

ROOT = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), ".."))

# An arrow may only point down: what a file of a room may include. quern.h is everyone's.
MAY_INCLUDE = {
    "include": [],
    "core": ["core"],
    "formats": ["formats", "core"],
    "quant/kernels": ["quant/kernels", "quant/blocks.h", "quant/grid_neighbours.h", "quant/grids.h", "quant/levels.h", "quant/small_floats.h", "core/dtype.h", "core/philox.h", "core/str.h"],
    "quant": ["quant", "core"],
    "pipeline": ["pipeline", "formats", "quant", "core"],
    "merge": ["merge", "convert", "pipeline", "formats", "quant", "core"],
    "convert": ["convert", "pipeline", "formats", "quant", "core"],
    "cli": ["cli", "merge", "convert", "pipeline", "formats", "quant", "core"],
}
# A dependency sits behind one file.
ONLY_IN = {
    "omp.h": set(),
    "cjson/cJSON.h": {"core/json.c", "tests/fuzz/fuzz_json.c"},
    "cJSON.h": {"core/json.c"},
    "yaml.h": {"core/yaml.c"},
    "zstd.h": {"core/frame.c", "tests/fuzz/fuzz_literals.c"},
    "zstd_errors.h": {"core/frame.c"},
    "immintrin.h": {"quant/kernels/simd.h", "core/sha256_x86.h", "tests/test_sha256.c"},
    "x86intrin.h": set(),
    "arm_neon.h": {"quant/kernels/simd.h"},
}
INTRINSICS = {"quant/kernels/simd.h", "core/sha256_special.c", "core/sha256_x86.h", "tests/test_sha256.c"}
ONE_FILE_EACH = ["pcre2.h"]
# No lanes to speak of, but instructions for one algorithm.
INTRINSICS = {"quant/kernels/simd.h", "core/sha256_x86.h", "core/sha256_special.c", "tests/test_sha256.c"}

# In tests and benchmarks too.
BANNED_EVERYWHERE = {
    "gets": "writes without knowing the room",
    "mktemp tmpnam tempnam": "races with others: use mkdtemp or mkstemp",
    "alloca": "takes stack from a size",
    "rand srand random srandom drand48": "not the same everywhere: make numbers from a seed",
}
BANNED = {
    "strcpy strcat stpcpy sprintf vsprintf": "writes without knowing the room: use snprintf or memcpy",
    "strncpy strncat": "leaves strings without an end: use snprintf or memcpy",
    "atoi atol atoll atof scanf sscanf fscanf": "cannot report a bad number: use strtoull and look at errno and the end",
    "strtok strtok_r": "changes its input: use struct str",
    "system popen": "runs a shell",
    "asctime ctime gmtime localtime time": "no clocks in what we write",
    "setlocale": "changes the host program",
    "open_memstream": "loses text in silence when memory runs out: use core/text_file.h",
    "qsort_r": "not everywhere the same signature",
    "setjmp longjmp": "errors are values",
}
ONLY_CLI = {
    # fprintf to a stream of one's own (open_memstream) is fine.
    "printf vprintf puts putchar perror psignal": "only cli/ prints",
    "stdout stderr": "only cli/ prints",
    "exit _exit _Exit quick_exit abort": "only cli/ ends the process",
    "getenv secure_getenv": "only cli/ reads the environment",
}
NOT_IN_KERNELS = {"malloc calloc realloc free posix_memalign aligned_alloc": "no allocation in kernels"}

problems = []


def problem(path, line, what):
    problems.append((path, line, what))


def blank(match):
    """A comment or string, gone but for its line breaks."""
    text = match.group(0)
    return ('""' if text[0] in "\"'" else " ") + "\n" * text.count("\n")


TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def tracked_files():
    """Files git knows or would add; the whole tree outside a checkout."""
    git = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if git.returncode == 0:
        return sorted(f for f in git.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, f)))
    found = []
    for d, dirs, files in os.walk(ROOT):
        dirs[:] = [x for x in dirs if x not in ("build", ".git", "demo-output")]
        found += [os.path.relpath(os.path.join(d, f), ROOT) for f in files]
    return sorted(found)


def room_of(path):
    if path.startswith("quant/kernels/"):
        return "quant/kernels"
    return path.split("/")[0] if "/" in path else ""


def check_includes(path, raw, names):
    room = room_of(path)
    for number, line in enumerate(raw.splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        what = m.group(2)
        if m.group(1) == "<":
            if what in ONLY_IN and path not in ONLY_IN[what]:
                problem(path, number, "<%s> belongs to %s alone" % (what, ", ".join(sorted(ONLY_IN[what])) or "no file"))
            for header in ONE_FILE_EACH:
                if what == header:
                    names.setdefault(header, []).append((path, number))
            continue
        if what.startswith("..") or what.startswith("/"):
            problem(path, number, "include from the root of the tree, not \"%s\"" % what)
            continue
        if room not in MAY_INCLUDE or what in ("quern.h", "include/quern.h"):
            if room == "quant/kernels":
                problem(path, number, "kernels do not know quern.h")
            continue
        if "/" not in what:
            what = os.path.dirname(path) + "/" + what
        if not any(what == ok or what.startswith(ok + "/") for ok in MAY_INCLUDE[room]):
            problem(path, number, "%s/ may not include %s (arrows point down)" % (room, what))


def check_calls(path, lines, groups):
    for words, why in groups.items():
        pattern = re.compile(r"(?<![\w.>])(%s)\s*%s" % ("|".join(words.split()), "" if words.startswith("stdout") else r"\("))
        for number, line in enumerate(lines, 1):
            m = pattern.search(line)
            if m and not re.match(r"\s*#\s*(include|define)", line):
                problem(path, number, "%s: %s" % (m.group(1), why))


def check_source(path, raw, headers):
    room = room_of(path)
    lines = TOKENS.sub(blank, raw).split("\n")
    check_includes(path, raw, headers)
    first = raw.split("\n", 1)[0]
    if not first.startswith("/* %s - " % os.path.basename(path)):
        problem(path, 1, "line 1 says what the file is for: /* %s - ..." % os.path.basename(path))
    check_calls(path, lines, BANNED_EVERYWHERE)
    if room in MAY_INCLUDE:
        check_calls(path, lines, BANNED)
    if room in MAY_INCLUDE and room != "cli":
        check_calls(path, lines, ONLY_CLI)
    if room == "quant/kernels":
        check_calls(path, lines, NOT_IN_KERNELS)
    for number, line in enumerate(lines, 1):
        if re.match(r"\s*typedef\s+(struct|union)\b[^(]*$", line):
            problem(path, number, "no typedef for structs")
        if re.search(r"#\s*pragma\s+omp", line):
            problem(path, number, "threads are pthreads")
        if re.search(r"\b_mm(256|512)?_\w+|__builtin_ia32_", line) and path not in INTRINSICS:
            problem(path, number, "intrinsics live in quant/kernels/simd.h")
        if re.search(r"\b__(AVX|SSE|F16C|FMA|ARM_NEON)\w*", line) and path != "quant/kernels/simd.h":
            problem(path, number, "instruction sets are told apart in quant/kernels/simd.h")


def main():
    files = tracked_files()
    headers, seen = {}, {}
    for path in files:
        name = os.path.basename(path)
        if re.search(r"\.(c|h|py|sh)$", name) and not path.startswith("tests/cli/cases/"):
            if name in seen:
                problem(path, 1, "file names are unique in the tree: there is %s too" % seen[name])
            seen.setdefault(name, path)
        if path.endswith((".c", ".h")):
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                check_source(path, f.read(), headers)
        if not path.startswith("tests/data/") and os.path.getsize(os.path.join(ROOT, path)) < 1 << 20:
            with open(os.path.join(ROOT, path), "rb") as f:
                for number, line in enumerate(f, 1):
                    if re.match(rb"(<<<<<<<|>>>>>>>) ", line):
                        problem(path, number, "left over from merging branches")
        if name == "Makefile":
            with open(os.path.join(ROOT, path), encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    line = line.split("#")[0]
                    for flag in ("-ffast-math", "-march=native", "-mfma", "-Ofast"):
                        if flag in line:
                            problem(path, number, "%s changes the bytes quern writes" % flag)
    for header, places in headers.items():
        for path, number in places[1:]:
            if path != places[0][0]:
                problem(path, number, "<%s> sits behind one file, and that is %s" % (header, places[0][0]))
    for path, line, what in sorted(problems):
        print("%s:%d: %s" % (path, line, what))
    print("lint: tree: %d problems in %d files" % (len(problems), len(files)), file=sys.stderr)
    sys.exit(1 if problems else 0)


main()
