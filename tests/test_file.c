/* Reading whole files and writing them atomically: what is refused, and what is left behind by a failure. */
#include "folders.h"
#include "harness.h"

#include "core/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(file_read_refuses_with_a_sentence) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    mgn_test_write_file(mgn_test_path("empty"), "", 0);
    mgn_test_write_file(mgn_test_path("ten"), "0123456789", 10);
    MGN_ASSERT_FAILS(mgn_file_read(mgn_test_path("absent"), 100, &bytes, &size), MGN_ERR_IO, "does not exist");
    MGN_ASSERT_FAILS(mgn_file_read("/tmp", 100, &bytes, &size), MGN_ERR_IO, "is a directory");
    MGN_ASSERT_FAILS(mgn_file_read("/dev/zero", SIZE_MAX, &bytes, &size), MGN_ERR_IO, "/dev/zero is a device");
    MGN_ASSERT_FAILS(mgn_file_read(mgn_test_path("empty"), 100, &bytes, &size), MGN_ERR_IO, "is empty");
    MGN_ASSERT_FAILS(mgn_file_read(mgn_test_path("ten"), 9, &bytes, &size), MGN_ERR_IO, "larger than the 9 bytes");
    ck_assert_ptr_null(bytes);
    MGN_ASSERT_OK(mgn_file_read(mgn_test_path("ten"), 10, &bytes, &size));
    ck_assert_uint_eq(size, 10);
    ck_assert_str_eq((char *)bytes, "0123456789");
    mgn_free(bytes);
}
END_TEST

START_TEST(file_read_takes_pipes) {
    int ends[2];
    unsigned char *bytes = NULL;
    size_t size = 0;
    char name[64], block[5000];
    ck_assert_int_eq(pipe(ends), 0);
    memset(block, 'x', sizeof block);
    ck_assert_int_eq((int)write(ends[1], block, sizeof block), (int)sizeof block);
    close(ends[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    MGN_ASSERT_OK(mgn_file_read(name, 1 << 20, &bytes, &size));
    ck_assert_uint_eq(size, sizeof block);
    mgn_free(bytes);
    close(ends[0]);
}
END_TEST

START_TEST(output_appears_whole_or_not_at_all) {
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path("out/deep//folder/")));
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path("out/deep/folder")));
    const char *directory = mgn_test_path("out/deep/folder"), *path = mgn_test_path("out/deep/folder/file");
    mgn_output_file *output = NULL;
    MGN_ASSERT_OK(mgn_output_open(path, &output));
    MGN_ASSERT_OK(mgn_output_write(output, "first", 5));
    ck_assert_int_ne(access(path, F_OK), 0);
    mgn_output_discard(output);
    ck_assert_uint_eq(entries_of(directory), 0);
    MGN_ASSERT_OK(mgn_output_open(path, &output));
    MGN_ASSERT_OK(mgn_output_write(output, "second", 6));
    fprintf(mgn_output_stream(output), " %d", 2);
    MGN_ASSERT_OK(mgn_output_commit(output));
    ck_assert_uint_eq(entries_of(directory), 1);
    char *text = mgn_test_read_file(path, NULL);
    ck_assert_str_eq(text, "second 2");
    free(text);
    MGN_ASSERT_FAILS(mgn_make_directory(mgn_test_path("out/deep/folder/file/x")), MGN_ERR_IO, "not a directory");
    MGN_ASSERT_FAILS(mgn_output_open(directory, &output), MGN_ERR_IO, "is a directory");
    MGN_ASSERT_FAILS(mgn_output_open(mgn_test_path("nowhere/file"), &output), MGN_ERR_IO, "directory does not exist");
    MGN_ASSERT_FAILS(mgn_output_open("", &output), MGN_ERR_ARGUMENT, "empty");
    mgn_output_discard(NULL);
}
END_TEST

START_TEST(output_follows_links_and_keeps_permissions) {
    const char *file = mgn_test_path("linked"), *link = mgn_test_path("link");
    mgn_test_write_file(file, "old", 3);
    ck_assert_int_eq(chmod(file, 0640), 0);
    ck_assert_int_eq(symlink(file, link), 0);
    mgn_output_file *output = NULL;
    MGN_ASSERT_OK(mgn_output_open(link, &output));
    MGN_ASSERT_OK(mgn_output_write(output, "new", 3));
    MGN_ASSERT_OK(mgn_output_commit(output));
    struct stat about;
    ck_assert_int_eq(lstat(link, &about), 0);
    ck_assert(S_ISLNK(about.st_mode));
    ck_assert_int_eq(stat(file, &about), 0);
    ck_assert_uint_eq(about.st_mode & 0777, 0640);
    char *text = mgn_test_read_file(file, NULL);
    ck_assert_str_eq(text, "new");
    free(text);
}
END_TEST

START_TEST(full_device_is_an_error) {
    mgn_output_file *output = NULL;
    MGN_ASSERT_OK(mgn_output_open("/dev/full", &output));
    MGN_ASSERT_OK(mgn_output_write(output, "x", 1));
    MGN_ASSERT_FAILS(mgn_output_commit(output), MGN_ERR_IO, "/dev/full cannot be written: No space left");
}
END_TEST

/* Buffered bytes meet the limit only at the commit, which must notice, say so, and clean up. */
START_TEST(failed_commit_leaves_the_old_file) {
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path("late")));
    const char *directory = mgn_test_path("late"), *path = mgn_test_path("late/file");
    mgn_test_write_file(path, "precious", 8);
    const size_t open_before = entries_of("/proc/self/fd");
    mgn_output_file *output = NULL;
    char block[1000] = {0};
    struct rlimit before, small;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    MGN_ASSERT_OK(mgn_output_open(path, &output));
    MGN_ASSERT_OK(mgn_output_write(output, block, sizeof block));
    small = before;
    small.rlim_cur = 100;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    const mgn_status status = mgn_output_commit(output);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    MGN_ASSERT_FAILS(status, MGN_ERR_IO, "cannot be written: File too large");
    ck_assert_uint_eq(entries_of(directory), 1);
    char *text = mgn_test_read_file(path, NULL);
    ck_assert_str_eq(text, "precious");
    free(text);
    MGN_ASSERT_OK(mgn_output_open(path, &output));
    mgn_output_discard(output);
    ck_assert_uint_eq(entries_of("/proc/self/fd"), open_before);
}
END_TEST

/* Files that belong together: when the second cannot be finished, the first does not appear either. */
START_TEST(commit_all_is_all_or_nothing) {
    MGN_ASSERT_OK(mgn_make_directory(mgn_test_path("pair")));
    const char *const paths[] = {mgn_test_path("pair/first"), "/dev/full"};
    mgn_output_file *outputs[2] = {NULL};
    for (size_t i = 0; i < 2; i++) {
        MGN_ASSERT_OK(mgn_output_open(paths[i], &outputs[i]));
        MGN_ASSERT_OK(mgn_output_write(outputs[i], "x", 1));
    }
    MGN_ASSERT_FAILS(mgn_output_commit_all(outputs, 2), MGN_ERR_IO, "/dev/full cannot be written");
    ck_assert_uint_eq(entries_of(mgn_test_path("pair")), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("file");
    TCase *group = tcase_create("file");
    tcase_add_test(group, file_read_refuses_with_a_sentence);
    tcase_add_test(group, file_read_takes_pipes);
    tcase_add_test(group, output_appears_whole_or_not_at_all);
    tcase_add_test(group, output_follows_links_and_keeps_permissions);
    tcase_add_test(group, full_device_is_an_error);
    tcase_add_test(group, failed_commit_leaves_the_old_file);
    tcase_add_test(group, commit_all_is_all_or_nothing);
    suite_add_tcase(suite, group);
    return mgn_test_main(suite);
}
