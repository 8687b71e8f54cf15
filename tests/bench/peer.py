"""What the peers share: timing on a machine that others use too, and answering compare's requests.

A peer is a process that lives as long as the comparison, so that it compiles once. It prints a line
{"peer": name, "tasks": [...]} and then answers each line {"task": ..., "seconds": ...} on its input with one line: the
fastest and the median seconds of one unit (a step, a picture), and whether other programs disturbed every sample."""
import importlib
import json
import os
import sys
import time

TICK = os.sysconf("SC_CLK_TCK")


def need(*names):
    """The modules, or an answer that says which one is missing."""
    try:
        return [importlib.import_module(n) for n in names]
    except ImportError as e:
        print(json.dumps({"missing": e.name or str(e)}))
        sys.exit(0)


def foreign():
    """Processor seconds that programs other than this one have used."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:9]]
    return (sum(v) - v[3] - v[4]) / TICK - time.process_time()


def measure(run, units, seconds):
    """Calls `run`, which does `units` of work and waits for them, for about `seconds` after one call to warm up."""
    run()
    clean, disturbed, end = [], [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(clean) + len(disturbed) < 3:
        others, start, taken = foreign(), time.perf_counter(), []
        while not taken or time.perf_counter() - start < min(0.1, seconds):
            a = time.perf_counter()
            run()
            taken.append((time.perf_counter() - a) / units)
        wall = time.perf_counter() - start
        busy = foreign() - others > 0.03 * wall * os.cpu_count() + 0.02
        (disturbed if busy else clean).extend(taken)
    taken = sorted(clean or disturbed)
    return {"fastest": taken[0], "median": taken[len(taken) // 2], "disturbed": not clean}


def serve(name, tasks):
    """`tasks`: name -> a function that makes (run, units); made when it is first asked for. A list of such functions:
    several ways to write the same, the fastest of which counts."""
    out, made = os.fdopen(os.dup(1), "w", 1), {}
    os.dup2(2, 1)  # what libraries print is not an answer
    print(json.dumps({"peer": name, "tasks": list(tasks)}), file=out)
    for line in sys.stdin:
        ask = json.loads(line)
        task = ask["task"]
        try:
            if task not in made:
                ways = [make() for make in tasks[task]]
                made[task] = min(ways, key=lambda way: measure(*way, 0.2)["fastest"])
            print(json.dumps(measure(*made[task], ask["seconds"])), file=out)
        except Exception as e:  # a peer that fails is a row without its figure
            print(json.dumps({"error": f"{type(e).__name__}: {e}"[:300]}), file=out)
