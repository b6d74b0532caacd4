/* test_output.c - outputs appear complete or not at all, and never replace what they must not. */
#include <criterion/criterion.h>

#include "core/io.h"
#include "core/output.h"
#include "leaks.h"
#include "scratch.h"

TestSuite(output, .init = scratch_begin, .fini = scratch_end);

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static bool holds(const char *path, const char *text)
{
    char got[256] = "";
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    const size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    return n == strlen(text) && strcmp(got, text) == 0;
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

Test(output, shows_its_name_only_after_commit)
{
    struct output o;
    struct quern_error e;
    const char *path = scratch("a.bin");
    cr_assert_eq(output_begin(&o, path, 5, 0, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(pwrite_full(o.fd, "hello", 5, 0, path, &e), QUERN_OK);
    cr_assert(!there(path));
    cr_assert(there(scratch(".a.bin.quern-part")));
    cr_assert_eq(output_commit(&o, false, &e), QUERN_OK, "%s", e.text);
    cr_assert(holds(path, "hello"));
    cr_assert(!there(scratch(".a.bin.quern-part")));
    output_abort(&o);
    cr_assert(holds(path, "hello"), "abort after commit does nothing");
    CHECK_LEAKS();
}

Test(output, abort_keeps_the_old_file)
{
    struct output o;
    const char *path = scratch("a.bin");
    write_text(path, "old");
    cr_assert_eq(output_begin(&o, path, 1000, 0, NULL), QUERN_OK);
    output_abort(&o);
    cr_assert(holds(path, "old"));
    cr_assert(!there(scratch(".a.bin.quern-part")));
    CHECK_LEAKS();
}

Test(output, replaces_only_when_told)
{
    struct output o;
    struct quern_error e;
    const char *path = scratch("a.bin");
    cr_assert_eq(output_begin(&o, path, 0, 0, &e), QUERN_OK);
    write_text(path, "came later");
    cr_assert_eq(output_commit(&o, false, &e), QUERN_EEXIST);
    output_abort(&o);
    cr_assert(holds(path, "came later"));
    cr_assert_eq(output_check(path, false, false, &e), QUERN_EEXIST);
    cr_assert_eq(output_check(path, false, true, &e), QUERN_OK);
    cr_assert_eq(output_begin(&o, path, 0, 0, &e), QUERN_OK);
    cr_assert_eq(output_commit(&o, true, &e), QUERN_OK);
    cr_assert(holds(path, ""));
    CHECK_LEAKS();
}

Test(output, second_writer_is_refused)
{
    struct output a, b;
    struct quern_error e;
    cr_assert_eq(output_begin(&a, scratch("x"), 0, 0, &e), QUERN_OK);
    cr_assert_eq(output_begin(&b, scratch("x"), 0, 0, &e), QUERN_EEXIST);
    cr_assert_str_eq(e.kind, "locked");
    output_abort(&a);
    cr_assert_eq(output_begin(&b, scratch("x"), 0, 0, &e), QUERN_OK);
    output_abort(&b);
}

Test(output, left_over_part_is_taken_over)
{
    struct output o;
    struct quern_error e;
    write_text(scratch(".x.quern-part"), "left by a killed run, longer than the new one");
    cr_assert_eq(output_begin(&o, scratch("x"), 3, 0, &e), QUERN_OK);
    cr_assert_eq(pwrite_full(o.fd, "new", 3, 0, "x", &e), QUERN_OK);
    cr_assert_eq(output_commit(&o, false, &e), QUERN_OK);
    cr_assert(holds(scratch("x"), "new"));
}

Test(output, disk_too_small_is_said_before_any_work)
{
    struct output o;
    struct quern_error e;
    cr_assert_eq(output_begin(&o, scratch("x"), UINT64_C(1) << 60, 0, &e), QUERN_EIO);
    cr_assert_str_eq(e.kind, "disk-full");
    cr_assert(!there(scratch(".x.quern-part")));
}

Test(output, longest_file_name_works)
{
    char name[256];
    struct output o;
    struct quern_error e;
    memset(name, 'n', 255);
    name[255] = '\0';
    cr_assert_eq(output_begin(&o, scratch(name), 0, 0, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(output_commit(&o, false, &e), QUERN_OK, "%s", e.text);
    cr_assert(there(scratch(name)));
}

Test(output, odd_targets_are_refused)
{
    struct quern_error e;
    cr_assert_eq(symlink("target", scratch("link")), 0);
    cr_assert_eq(output_check(scratch("link"), false, true, &e), QUERN_EEXIST);
    cr_assert_eq(output_check("/dev/null", false, true, &e), QUERN_EEXIST);
    cr_assert_eq(output_check(scratch_dir, false, true, &e), QUERN_EEXIST);
    cr_assert_eq(output_check(scratch("missing/x"), false, false, &e), QUERN_EIO);
    cr_assert_eq(output_check("", false, false, &e), QUERN_EUSAGE);
    cr_assert_eq(output_check(scratch("dir/"), false, false, &e), QUERN_EUSAGE);
}

static void make_dir(struct output_dir *d, const char *path, const char *file, const char *text)
{
    struct quern_error e;
    cr_assert_eq(output_dir_begin(d, path, false, &e), QUERN_OK, "%s", e.text);
    char inside[300];
    snprintf(inside, sizeof inside, "%s/%s", d->part_path, file);
    write_text(inside, text);
}

Test(output, directory_appears_whole)
{
    struct output_dir d;
    struct quern_error e;
    make_dir(&d, scratch("m/"), "config.json", "{}");
    cr_assert(!there(scratch("m")));
    cr_assert_eq(output_dir_commit(&d, false, &e), QUERN_OK, "%s", e.text);
    cr_assert(holds(scratch("m/config.json"), "{}"));
    CHECK_LEAKS();
}

Test(output, directory_replaces_an_empty_one_and_a_model)
{
    struct output_dir d;
    struct quern_error e;
    cr_assert_eq(mkdir(scratch("m"), 0777), 0);
    cr_assert_eq(output_check(scratch("m"), true, false, &e), QUERN_OK);
    make_dir(&d, scratch("m"), "config.json", "one");
    cr_assert_eq(output_dir_commit(&d, false, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(output_check(scratch("m"), true, false, &e), QUERN_EEXIST);
    make_dir(&d, scratch("m"), "config.json", "two");
    cr_assert_eq(output_dir_commit(&d, false, &e), QUERN_EEXIST);
    output_dir_abort(&d);
    cr_assert(holds(scratch("m/config.json"), "one"));
    make_dir(&d, scratch("m"), "config.json", "two");
    cr_assert_eq(output_dir_commit(&d, true, &e), QUERN_OK, "%s", e.text);
    cr_assert(holds(scratch("m/config.json"), "two"));
    cr_assert(!there(scratch(".m.quern-part")));
    CHECK_LEAKS();
}

Test(output, directory_with_other_things_is_never_replaced)
{
    struct quern_error e;
    cr_assert_eq(mkdir(scratch("home"), 0777), 0);
    write_text(scratch("home/thesis.tex"), "years of work");
    cr_assert_eq(output_check(scratch("home"), true, true, &e), QUERN_EEXIST, "no model in it");
    write_text(scratch("home/config.json"), "{}");
    cr_assert_eq(mkdir(scratch("home/photos"), 0777), 0);
    cr_assert_eq(output_check(scratch("home"), true, true, &e), QUERN_EEXIST, "a subdirectory");
}

Test(output, input_open_takes_only_regular_files)
{
    struct quern_error e;
    struct file_id id;
    int fd;
    cr_assert_eq(mkfifo(scratch("pipe"), 0600), 0);
    cr_assert_eq(input_open(scratch("pipe"), &fd, &id, &e), QUERN_EFORMAT);
    cr_assert_str_eq(e.kind, "not-a-file");
    cr_assert_eq(input_open("/dev/zero", &fd, &id, &e), QUERN_EFORMAT);
    cr_assert_eq(input_open(scratch_dir, &fd, &id, &e), QUERN_EFORMAT);
    cr_assert_eq(input_open(scratch("none"), &fd, &id, &e), QUERN_EIO);
    write_text(scratch("f"), "abc");
    cr_assert_eq(input_open(scratch("f"), &fd, &id, &e), QUERN_OK);
    char buf[8];
    cr_assert_eq(pread_full(fd, buf, 8, 0, "f", &e), QUERN_EIO, "a file that shrank");
    cr_assert_str_eq(e.kind, "changed");
    close(fd);
}

/* The next file often gets the inode of the one before. */
Test(output, a_file_made_anew_has_another_mark)
{
    const char *path = scratch("a.bin");
    struct statx st = {0};
    cr_assert_eq(output_mark(path), 0);
    write_text(path, "one");
    const uint64_t mark = output_mark(path);
    cr_assert_neq(mark, 0);
    write_text(path, "more");
    cr_assert_eq(output_mark(path), mark, "it is the same file");
    cr_assert_eq(statx(AT_FDCWD, path, 0, STATX_BTIME, &st), 0);
    if (!(st.stx_mask & STATX_BTIME))
        cr_skip_test("the system does not know when files were made");
    for (unsigned i = 0; i < 20; i++) {
        const uint64_t before = output_mark(path);
        cr_assert_eq(unlink(path), 0);
        usleep(20000); /* times are as coarse as the clock's ticks */
        write_text(path, "two");
        cr_assert_neq(output_mark(path), before);
    }
}
