/* The command `mgn`: runs what was asked for, and turns its status into a sentence and an exit code: 0, 2 for what the
 * caller got wrong (MGN_ERR_ARGUMENT), 1 for every other failure. */
#define _GNU_SOURCE
#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "comm/comm.h"
#include "comm/mpi.h"
#include "core/core.h"

static void on_signal(int number) {
    (void)number;
    mgn_interrupt();
}

/* The first Ctrl-C asks for an orderly stop, the second kills. A closed pipe is an error of writing, told at the end. */
static void install_handlers(void) {
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file size limit is an error of writing too */
}

/* The next file that is opened gets the place of a standard stream that is closed, and what is printed with it. What holds
 * the place here fails as the closed one would. */
static void hold_streams(void) {
    for (int i = 0; i < 3; i++)
        if (fcntl(i, F_GETFD) < 0) open("/dev/null", (i == 0 ? O_WRONLY : O_RDONLY) | O_NOCTTY);
}

/* Of OpenBLAS built with threads. */
extern int blas_thread_shutdown_(void) __attribute__((weak));

int main(int argc, char **argv) {
    hold_streams();
    install_handlers();
    /* OpenBLAS starts threads as it is loaded, which spin on all cores until work comes; the work comes from ours. They
     * start again if it is ever asked for more than one. */
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_) blas_thread_shutdown_();
    mgn_comm *comm = NULL;
    mgn_status status = mgn_mpi_open(&comm);
    if (mgn_comm_rank(comm) > 0 && !freopen("/dev/null", "w", stdout)) status = MGN_ERR_IO;
    if (status == MGN_OK) status = cli_dispatch(argc, argv, comm);
    if (status == MGN_OK && (fflush(stdout) != 0 || ferror(stdout)))
        status = mgn_fail(MGN_ERR_IO, "standard output could not be written: %s", strerror(errno));
    status = mgn_comm_agree(comm, status);
    mgn_bar(NULL);
    const bool is_spokesman = !comm || comm->rank == 0 || comm->is_broken; /* nobody hears the others any more */
    if (status != MGN_OK && is_spokesman) fprintf(stderr, "mgn: %s\n", mgn_last_error());
    mgn_mpi_close(comm);
    if (status == MGN_OK) return 0;
    return status == MGN_ERR_ARGUMENT ? 2 : 1;
}
