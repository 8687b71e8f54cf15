/* Three streams at once, so that no side can wait for the other for ever: the script is sent while pictures and
 * complaints are read. The script goes through a socket and not a pipe because a socket can be written to without a
 * SIGPIPE when gnuplot has left, whatever the program that uses this library does with that signal. */
#define _GNU_SOURCE
#include "plot/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, LONGEST_PICTURE = 1 << 28, LONGEST_COMPLAINT = 4096, POLL_MS = 100, USUAL_PATIENCE = 60 };

/* Whichever descriptor is closed is -1, which poll() passes over. */
typedef struct session {
    pid_t pid;
    int in, out, err; /* this side of its standard streams */
    const char *script;
    size_t left;
    unsigned char *output;
    size_t size, capacity;
    char complaint[LONGEST_COMPLAINT];
    size_t complaint_size;
    double patience, moved; /* when anything last happened */
} session;

static void close_end(int *descriptor) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
}

/* ---- start ---- */

/* Descriptors 0 to 2 are what the child's streams become: an end must not lie there, as it would in a program that was
 * started with standard streams closed. */
static bool lift(int *descriptor) {
    if (*descriptor > 2) return true;
    const int lifted = fcntl(*descriptor, F_DUPFD_CLOEXEC, 3);
    if (lifted < 0) return false;
    close(*descriptor);
    *descriptor = lifted;
    return true;
}

/* ends[0..2] are ours, ends[3..5] the child's. */
static bool open_streams(int ends[6]) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    ends[0] = pair[0], ends[3] = pair[1];
    for (int i = 1; i < 3; i++) {
        if (pipe2(pair, O_CLOEXEC) != 0) return false;
        ends[i] = pair[0], ends[i + 3] = pair[1];
    }
    for (int i = 0; i < 6; i++)
        if (!lift(&ends[i])) return false;
    /* What is only ours must not block; the child's ends are other open files. */
    for (int i = 0; i < 3; i++)
        if (fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0) return false;
    return shutdown(ends[0], SHUT_RD) == 0;
}

/* An errno. A process group of its own, so that everything it started can be stopped with it. */
static int spawn(const int ends[6], pid_t *pid) {
    static char program[] = "gnuplot", plain[] = "-d";
    char *const arguments[] = {program, plain, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE); /* ignoring is inherited, and these two are what programs ignore */
    sigaddset(&usual, SIGXFSZ);
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    for (int i = 0; i < 3 && !error; i++) error = posix_spawn_file_actions_adddup2(&actions, ends[i + 3], i);
    if (!error)
        error = posix_spawnattr_setflags(&attributes,
                                         POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    if (!error) error = posix_spawnattr_setsigdefault(&attributes, &usual);
    if (!error) error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error) error = posix_spawnattr_setpgroup(&attributes, 0);
    if (!error) error = posix_spawnp(pid, program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static mgn_status start(session *s) {
    int ends[6] = {-1, -1, -1, -1, -1, -1};
    int error = open_streams(ends) ? spawn(ends, &s->pid) : errno;
    for (int i = 3; i < 6; i++) close_end(&ends[i]);
    s->in = ends[0], s->out = ends[1], s->err = ends[2];
    if (!error) return MGN_OK;
    s->pid = 0;
    if (error == ENOENT)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "plots are drawn by gnuplot, and no program of that name is in PATH; install it (Debian: "
                        "gnuplot-nox) or ask for no plots");
    return mgn_fail(MGN_ERR_IO, "gnuplot cannot be started: %s", strerror(error));
}

/* ---- while it runs ---- */

static mgn_status failure(const char *what) { return mgn_fail(MGN_ERR_IO, "%s gnuplot: %s", what, strerror(errno)); }

/* Who no longer reads says why on standard error or by its exit code. */
static mgn_status send_script(session *s) {
    const ssize_t sent = s->left ? send(s->in, s->script, s->left, MSG_NOSIGNAL) : 0;
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return MGN_OK;
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET) return failure("writing to");
    if (sent > 0) s->script += sent, s->left -= (size_t)sent;
    if (sent < 0 || s->left == 0) close_end(&s->in);
    return MGN_OK;
}

static mgn_status receive_output(session *s) {
    if (s->capacity - s->size <= BLOCK) {
        const size_t capacity = 2 * s->capacity + 2 * BLOCK;
        unsigned char *grown = mgn_realloc(s->output, capacity, 1);
        if (!grown) return MGN_ERR_MEMORY;
        s->output = grown;
        s->capacity = capacity;
    }
    const ssize_t got = read(s->out, s->output + s->size, BLOCK);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return MGN_OK;
    if (got < 0) return failure("reading from");
    if (got == 0) close_end(&s->out);
    s->size += (size_t)got;
    if (s->size > LONGEST_PICTURE) return mgn_fail(MGN_ERR_IO, "gnuplot wrote more than %d bytes", LONGEST_PICTURE);
    return MGN_OK;
}

/* What does not fit is read and dropped. */
static mgn_status receive_complaint(session *s) {
    char block[512];
    const ssize_t got = read(s->err, block, sizeof block);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return MGN_OK;
    if (got < 0) return failure("reading from");
    if (got == 0) close_end(&s->err);
    const size_t kept = MGN_MIN((size_t)got, sizeof s->complaint - 1 - s->complaint_size);
    memcpy(s->complaint + s->complaint_size, block, kept);
    s->complaint_size += kept;
    return MGN_OK;
}

/* Whether to go on waiting. */
static mgn_status check_time(session *s, bool has_moved) {
    if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "interrupted while gnuplot drew");
    if (has_moved) s->moved = mgn_now();
    if (mgn_now() - s->moved <= s->patience) return MGN_OK;
    return mgn_fail(MGN_ERR_IO, "gnuplot neither read nor wrote anything for %g seconds, and was stopped", s->patience);
}

static mgn_status talk(session *s) {
    while (s->in >= 0 || s->out >= 0 || s->err >= 0) {
        struct pollfd ends[3] = {{s->in, POLLOUT, 0}, {s->out, POLLIN, 0}, {s->err, POLLIN, 0}};
        const int ready = poll(ends, 3, POLL_MS);
        if (ready < 0 && errno != EINTR) return failure("waiting for");
        MGN_TRY(check_time(s, ready > 0));
        if (ready <= 0) continue;
        if (ends[0].revents) MGN_TRY(send_script(s));
        if (ends[1].revents) MGN_TRY(receive_output(s));
        if (ends[2].revents) MGN_TRY(receive_complaint(s));
    }
    return MGN_OK;
}

/* ---- end ---- */

static mgn_status wait_for_end(session *s, int *state) {
    const struct timespec pause = {0, 5000000};
    for (;;) {
        const pid_t ended = waitpid(s->pid, state, WNOHANG);
        if (ended == s->pid) break;
        /* A program that ignores SIGCHLD is not told how its children ended; the picture itself is looked at later. */
        if (ended < 0 && errno == ECHILD) break;
        if (ended < 0 && errno != EINTR) return failure("waiting for");
        MGN_TRY(check_time(s, false));
        nanosleep(&pause, NULL);
    }
    s->pid = 0;
    return MGN_OK;
}

/* Whatever still runs is killed and waited for: a killed process ends at once. */
static void stop(session *s) {
    close_end(&s->in);
    close_end(&s->out);
    close_end(&s->err);
    if (s->pid <= 0) return;
    if (kill(-s->pid, SIGKILL) != 0) kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {}
}

/* gnuplot repeats the line, points at the place, and says "line 12: undefined variable"; other programs, such as the
 * loader, say what is wrong at once. */
static const char *telling_line(char *complaint) {
    const char *first = NULL;
    for (char *line = complaint, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        line += strspn(line, " \t\r");
        if (!*line) continue;
        if (!first) first = line;
        if (strncmp(line, "line ", 5) == 0) return line;
    }
    return first;
}

static mgn_status judge(session *s, int state) {
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return MGN_OK;
    const char *said = telling_line(s->complaint);
    if (said) return mgn_fail(MGN_ERR_IO, "gnuplot failed: %.300s", said);
    if (WIFSIGNALED(state))
        return mgn_fail(MGN_ERR_IO, "gnuplot was stopped by signal %d (%s)", WTERMSIG(state),
                        strsignal(WTERMSIG(state)));
    return mgn_fail(MGN_ERR_IO, "gnuplot failed with exit code %d and said nothing", WEXITSTATUS(state));
}

mgn_status mgn_gnuplot(const mgn_gnuplot_run *run, unsigned char **output, size_t *size) {
    session s = {.in = -1, .out = -1, .err = -1, .script = run->script, .left = run->size};
    int state = 0;
    s.patience = run->patience > 0 ? run->patience : USUAL_PATIENCE;
    s.moved = mgn_now();
    mgn_status status = start(&s);
    if (status == MGN_OK) status = talk(&s);
    if (status == MGN_OK) status = wait_for_end(&s, &state);
    stop(&s);
    if (status == MGN_OK) status = judge(&s, state);
    if (status != MGN_OK) {
        mgn_free(s.output);
        return status;
    }
    MGN_KNOWN(s.output);
    s.output[s.size] = 0; /* the end of the stream was met, so there is a block with room in it */
    *output = s.output;
    *size = s.size;
    return MGN_OK;
}
