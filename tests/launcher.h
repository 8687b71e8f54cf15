/* How tests start several processes. */
#ifndef MGN_TEST_LAUNCHER_H
#define MGN_TEST_LAUNCHER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As root, with more processes than cores, within a container, without a network; what MPI itself never frees is not judged. */
#define MGN_TEST_LAUNCHER                                                                                  \
    "ASAN_OPTIONS=detect_leaks=0:$ASAN_OPTIONS OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 " \
    "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 "                                  \
    "OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader "                    \
    "OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_plm_rsh_agent=/bin/false mpirun"

/* NULL, or why there are no several processes here. */
static inline const char *mgn_test_no_launcher(void) {
    const char *built = getenv("MGN_WITH_MPI");
    if (!built || strcmp(built, "yes") != 0) return "built without MPI";
    return system("timeout -s KILL 30 env " MGN_TEST_LAUNCHER " -n 2 true >/dev/null 2>&1") == 0
               ? NULL
               : "mpirun cannot start two processes here";
}

#endif
