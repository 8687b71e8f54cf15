/* A group of processes that mpirun, srun or the like started, over MPI. Part of the command, not of the library. */
#ifndef MGN_HOST_MPI_H
#define MGN_HOST_MPI_H

#include <mgn/comm.h>

/* The group that this process was started in; NULL where it was started alone or MGN_MPI=no says that it is to work alone, where
 * nothing of MPI is called. Errors: IO (MPI does not start), UNSUPPORTED (several processes were started, and this build knows no
 * MPI), ARGUMENT (MGN_MPI is something else). */
mgn_status mgn_mpi_open(mgn_comm **comm);
/* Leaves the group; where it is broken, its other processes are ended. Takes NULL. */
void mgn_mpi_close(mgn_comm *comm);

#endif
