#!/bin/bash
# link_cut.sh MGN [SECONDS]: two processes of `mgn fit` in two network namespaces of this machine, joined by a pair of virtual
# interfaces that is taken down in the middle of the training. Both have to end with one sentence within --comm-timeout SECONDS
# (default 5) and some seconds for mpirun, and the checkpoint has to go on. Needs root, `ip` and Open MPI; without the rights it
# says so and ends with 77. No part of the tests: it changes the machine's namespaces while it runs.
set -u
mgn=$(realpath "${1:?usage: link_cut.sh MGN [SECONDS]}")
limit=${2:-5}
id=mgn$$
folder=$(mktemp -d)

skip() { echo "link_cut.sh: not run: $1"; rm -rf "$folder"; exit 77; }
fail() { echo "link_cut.sh: $1"; cat "$folder"/*.err; exit 1; }
clean() {
    [ -z "${job:-}" ] || kill -KILL "$job" 2>/dev/null
    for side in a b; do
        ip netns pids "$id$side" 2>/dev/null | xargs -r kill -KILL
        ip netns del "$id$side" 2>/dev/null
    done
    rm -rf "$folder"
}

command -v ip mpirun >/dev/null || skip "ip and mpirun are needed"
[ "$(id -u)" = 0 ] && ip netns add "${id}a" 2>/dev/null || skip "network namespaces may only be made by root"
trap clean EXIT
ip netns add "${id}b" && ip link add "${id}x" netns "${id}a" type veth peer name "${id}y" netns "${id}b" ||
    skip "virtual interfaces cannot be made here"
for side in a:x:1 b:y:2; do
    IFS=: read -r name end number <<<"$side"
    ip -n "$id$name" addr add "10.213.77.$number/24" dev "$id$end"
    ip -n "$id$name" link set "$id$end" up
    ip -n "$id$name" link set lo up
done

# What mpirun calls instead of ssh: HOST COMMAND...
cat >"$folder/agent" <<END
#!/bin/sh
shift
exec ip netns exec ${id}b unshare --uts sh -c "hostname ${id}b; \$*"
END
chmod +x "$folder/agent"

# A process that says on its own when and how it ended.
cat >"$folder/rank" <<END
#!/bin/bash
cd $folder
"\$@" 2>rank\$OMPI_COMM_WORLD_RANK.err
echo "\$? \$(date +%s.%N)" >rank\$OMPI_COMM_WORLD_RANK.end
END
chmod +x "$folder/rank"

fit=("$mgn" fit -s normal:2 -t banana --device cpu --threads 1 --loss sinkhorn --samples 4096 --batch 1024 --epochs 1000000
    -o "$folder/map" --checkpoint "$folder/state" --checkpoint-every 1 --blocks 16)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ip netns exec "${id}a" unshare --uts sh -c "hostname ${id}a; exec \"\$@\"" sh mpirun -n 2 \
    --host 10.213.77.1:1,10.213.77.2:1 --mca plm_rsh_agent "$folder/agent" --mca btl tcp,self --mca pml ob1 \
    --mca btl_tcp_if_include 10.213.77.0/24 --mca oob_tcp_if_include 10.213.77.0/24 --bind-to none \
    "$folder/rank" "${fit[@]}" --comm-timeout "$limit" >"$folder/mpirun.out" 2>"$folder/mpirun.err" &
job=$!

for ((i = 0; i < 600; i++)); do
    [ -s "$folder/state" ] && break
    kill -0 "$job" 2>/dev/null || fail "the training did not start"
    sleep .1
done
[ -s "$folder/state" ] || fail "there is no checkpoint after a minute"
sleep 1
cut=$(date +%s.%N)
ip -n "${id}a" link set "${id}x" down
for ((i = 0; i < 10 * (limit + 30); i++)); do
    [ -s "$folder/rank0.end" ] && [ -s "$folder/rank1.end" ] && break
    sleep .1
done

for rank in 0 1; do
    [ -s "$folder/rank$rank.end" ] || fail "rank $rank did not end within $limit + 30 seconds"
    read -r code ended <"$folder/rank$rank.end"
    after=$(awk "BEGIN { printf \"%.1f\", $ended - $cut }")
    echo "rank $rank: exit code $code, $after s after the cut: $(grep -a '^mgn: ' "$folder/rank$rank.err" | tail -1)"
    [ "$code" != 0 ] || fail "rank $rank ended without an error"
    [ "$(grep -ac '^mgn: rank.*waited' "$folder/rank$rank.err")" = 1 ] || fail "rank $rank has not one sentence"
    awk "BEGIN { exit !($after < $limit + 10) }" || fail "rank $rank took $after s"
done
[ ! -e "$folder/map" ] || fail "a map was written"
if kill -0 "$job" 2>/dev/null; then echo "mpirun still waits for its other half"; else echo "mpirun has ended"; fi
timeout -s INT 20 "${fit[@]}" --resume "$folder/state" >"$folder/resume.out" 2>"$folder/resume.err"
grep -aq "stopped after .* steps" "$folder/resume.err" || fail "the checkpoint does not go on"
echo "link_cut.sh: both ended, and the checkpoint goes on"
