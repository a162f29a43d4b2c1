/* Loaded before the C library (LD_PRELOAD): records what a program writes to the files below RECORDED_FOLDER, and when it
   has the disk take it, in the file that RECORD names. A test plays parts of it back: a disk on which the power was cut.

   A record is a header of four 64-bit numbers (what, place in the file, bytes, bytes of the path), the path, the data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, UNLINK = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void find(void)
{
    real_write = (ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t)) dlsym(RTLD_NEXT, "pwrite64");
    real_ftruncate = (int (*)(int, off_t)) dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = (int (*)(const char *)) dlsym(RTLD_NEXT, "unlink");
    record = open(getenv("RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_recorded(const char *path)
{
    const char *folder = getenv("RECORDED_FOLDER");
    return folder != NULL && strncmp(path, folder, strlen(folder)) == 0;
}

static void note_path(int what, const char *path, int64_t at, const void *data, int64_t size)
{
    int64_t header[4] = {what, at, size, (int64_t) strlen(path)};
    if (!is_recorded(path))
        return;
    pthread_mutex_lock(&lock);
    (void) !real_write(record, header, sizeof header);
    (void) !real_write(record, path, (size_t) header[3]);
    if (data != NULL)
        (void) !real_write(record, data, (size_t) size);
    pthread_mutex_unlock(&lock);
}

static void note(int what, int descriptor, int64_t at, const void *data, int64_t size)
{
    char link[64], path[PATH_MAX];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length >= 0) {
        path[length] = 0;
        note_path(what, path, at, data, size);
    }
}

ssize_t write(int descriptor, const void *data, size_t size)
{
    off_t at = lseek(descriptor, 0, SEEK_CUR);
    ssize_t done = real_write(descriptor, data, size);
    if (done > 0 && at >= 0)
        note(WRITE, descriptor, at, data, done);
    return done;
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off_t at)
{
    ssize_t done = real_pwrite(descriptor, data, size, at);
    if (done > 0)
        note(WRITE, descriptor, at, data, done);
    return done;
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at)
{
    return pwrite64(descriptor, data, size, at);
}

int ftruncate64(int descriptor, off_t size)
{
    int done = real_ftruncate(descriptor, size);
    if (done == 0)
        note(TRUNCATE, descriptor, size, NULL, 0);
    return done;
}

int ftruncate(int descriptor, off_t size)
{
    return ftruncate64(descriptor, size);
}

/* A sync holds for what was written before it began: so it is recorded when it is over, and it was told to nobody before. */
int fsync(int descriptor)
{
    int done = real_fsync(descriptor);
    if (done == 0)
        note(SYNC, descriptor, 0, NULL, 0);
    return done;
}

int fdatasync(int descriptor)
{
    int done = real_fdatasync(descriptor);
    if (done == 0)
        note(SYNC, descriptor, 0, NULL, 0);
    return done;
}

int unlink(const char *path)
{
    int done = real_unlink(path);
    if (done == 0)
        note_path(UNLINK, path, 0, NULL, 0);
    return done;
}
