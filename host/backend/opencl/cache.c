/* Program binaries, and the parameters that `mgn tune` found (tuning.c), kept between processes.
 *
 * Activation: on by default; MGN_CACHE=off turns it off. Binaries of drivers that keep programs themselves (kernels.c) are
 * kept with MGN_CACHE=all only. The folder is $XDG_CACHE_HOME/mgn, else ~/.cache/mgn; it may
 * be deleted at any time. Without a folder that can be written, every process compiles anew and nothing else changes.
 *
 * Key: a text with everything that the compiler's output depends on: this library's version, the platform's version,
 * the device's name, the driver's version, the build options and the whole source. The file's name is a hash of it; the
 * file holds the text itself, so that two keys with one hash cannot be mistaken for each other.
 *
 * File: a header of four words (magic, bytes of the key, bytes of the binary, checksum of key and binary) in the
 * host's byte order, the key, the binary, and nothing after it. A file that is short, long, changed, of another key
 * or of another machine is as good as none: the program is compiled and the file replaced. The checksum finds
 * accidents only. Against others stands the owner: what is run must be a file of this user (or root) that nobody else
 * may write to, not reached through a link.
 *
 * Concurrency: a file is written under a temporary name and renamed, so that readers see the old file, the new file
 * or none. Processes that compile the same program at the same time write the same file; the last one stays. */
#define _GNU_SOURCE /* mkostemp */
#include "backend/opencl/opencl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 28 };

static const char magic_text[8] = "MGNCLB1"; /* the zero at its end belongs to it */

typedef struct file_header {
    char magic[8];
    uint64_t key_bytes, binary_bytes, checksum;
} file_header;

/* The folder, or false when caching is off or there is none to use. */
static bool cache_folder(char folder[PATH_MAX]) {
    const char *setting = mgn_environment("MGN_CACHE");
    if (setting && strcmp(setting, "off") == 0) return false;
    const char *base = mgn_environment("XDG_CACHE_HOME"), *home = mgn_environment("HOME");
    int length;
    /* The base directory specification has relative paths ignored. */
    if (base && base[0] == '/')
        length = snprintf(folder, PATH_MAX, "%s/mgn", base);
    else if (home)
        length = snprintf(folder, PATH_MAX, "%s/.cache/mgn", home);
    else
        return false;
    return length > 0 && length < PATH_MAX - 64;
}

static bool find_path(const char *key, char folder[PATH_MAX], char path[PATH_MAX]) {
    if (!cache_folder(folder)) return false;
    const size_t bytes = strlen(key);
    const uint64_t first = mgn_hash(MGN_HASH_START, key, bytes);
    const uint64_t second = mgn_hash(~MGN_HASH_START, key, bytes);
    const int length = snprintf(path, PATH_MAX, "%s/%016llx%016llx.clbin", folder, (unsigned long long)first,
                                (unsigned long long)second);
    return length > 0 && length < PATH_MAX;
}

bool mgn_cl_cache_path(const char *key, char path[PATH_MAX]) {
    char folder[PATH_MAX];
    return find_path(key, folder, path);
}

static bool read_all(int file, void *target, size_t bytes) {
    char *p = target;
    while (bytes > 0) {
        const ssize_t got = read(file, p, bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *source, size_t bytes) {
    const char *p = source;
    while (bytes > 0) {
        const ssize_t put = write(file, p, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        p += put;
        bytes -= (size_t)put;
    }
    return true;
}

/* Reads what follows the header; NULL unless it is exactly what was stored under `key`. */
static unsigned char *read_body(int file, const file_header *header, const char *key) {
    const size_t key_bytes = strlen(key), binary_bytes = (size_t)header->binary_bytes;
    unsigned char *body = mgn_alloc(key_bytes + binary_bytes, 1);
    if (!body) return NULL;
    if (!read_all(file, body, key_bytes + binary_bytes) || memcmp(body, key, key_bytes) != 0 ||
        mgn_hash(MGN_HASH_START, body, key_bytes + binary_bytes) != header->checksum) {
        mgn_free(body);
        return NULL;
    }
    memmove(body, body + key_bytes, binary_bytes);
    return body;
}

/* A regular file that nobody but this user or root can have written. */
static bool is_own(const struct stat *info) {
    return S_ISREG(info->st_mode) && (info->st_uid == geteuid() || info->st_uid == 0) &&
           (info->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

unsigned char *mgn_cl_cache_load(const char *key, size_t *bytes) {
    char folder[PATH_MAX], path[PATH_MAX];
    if (!find_path(key, folder, path)) return NULL;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return NULL;
    unsigned char *binary = NULL;
    struct stat info;
    file_header header;
    /* The lengths are compared with the file's size before anything is allocated for them. */
    if (fstat(file, &info) == 0 && is_own(&info) && info.st_size > (off_t)sizeof header && info.st_size < MAX_FILE &&
        read_all(file, &header, sizeof header) && memcmp(header.magic, magic_text, sizeof magic_text) == 0 &&
        header.key_bytes == strlen(key) && header.binary_bytes > 0 && header.binary_bytes < MAX_FILE &&
        sizeof header + header.key_bytes + header.binary_bytes == (uint64_t)info.st_size) {
        binary = read_body(file, &header, key);
        *bytes = (size_t)header.binary_bytes;
    }
    close(file);
    return binary;
}

/* Creates the folder and what is missing above it. */
static bool make_folder(char *folder) {
    for (char *slash = folder + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        const int failed = mkdir(folder, 0700);
        *slash = '/';
        if (failed && errno != EEXIST) return false;
    }
    return mkdir(folder, 0700) == 0 || errno == EEXIST;
}

bool mgn_cl_cache_store(const char *key, const unsigned char *binary, size_t bytes) {
    char folder[PATH_MAX], path[PATH_MAX], temporary[PATH_MAX];
    if (bytes == 0 || bytes >= MAX_FILE || !find_path(key, folder, path) || !make_folder(folder)) return false;
    const int length = snprintf(temporary, sizeof temporary, "%s/.new-XXXXXX", folder);
    if (length < 0 || length >= PATH_MAX) return false;
    const int file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0) return false;
    file_header header = {.key_bytes = strlen(key), .binary_bytes = bytes};
    memcpy(header.magic, magic_text, sizeof magic_text);
    header.checksum = mgn_hash(mgn_hash(MGN_HASH_START, key, (size_t)header.key_bytes), binary, bytes);
    bool written = write_all(file, &header, sizeof header) && write_all(file, key, (size_t)header.key_bytes) &&
                   write_all(file, binary, bytes) && fsync(file) == 0;
    written = close(file) == 0 && written;
    written = written && rename(temporary, path) == 0;
    if (!written) unlink(temporary);
    return written;
}
