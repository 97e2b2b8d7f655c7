"""What the operating system says of processes: CPU time, memory; and of the machine."""

import os
import platform
import re
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


def process_tree(root):
    """`root` and all that descend from it."""
    children = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, []))
    return tree


def _stat(pid):
    """The fields of /proc/PID/stat from the state (field 3) on; None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def cpu_seconds(root):
    """User and system time of a process tree so far, with all threads and ended children."""
    user = system = 0
    for pid in process_tree(root):
        fields = _stat(pid)
        if fields:
            user += int(fields[11]) + int(fields[13])
            system += int(fields[12]) + int(fields[14])
    return user * TICK, system * TICK


# Of what a limit of CPU time is counted in: short, so that the client gets its turn often.
CPU_PERIOD_MICROSECONDS = 20_000


def limit_cpu(root, cores):
    """Lets a process tree have the time of so many cores at most, on whichever; the control group
    it is in then, to be removed after its end. None if this system does not allow it."""
    quota = int(CPU_PERIOD_MICROSECONDS * cores)
    for base in (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")):
        group = base / f"headroom-bench-{root}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / "cpu.max").exists():
                (group / "cpu.max").write_text(f"{quota} {CPU_PERIOD_MICROSECONDS}")
            else:
                (group / "cpu.cfs_period_us").write_text(str(CPU_PERIOD_MICROSECONDS))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            for pid in process_tree(root):
                (group / "cgroup.procs").write_text(str(pid))
            return group
        except OSError:
            group.rmdir()
    return None


def memory_bytes(root):
    """The memory of a process tree; what processes share is counted once (PSS)."""
    total = 0
    for pid in process_tree(root):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)[1]) * 1024
    return total


def disk_bytes(folder):
    """What the files below `folder` take, in whole blocks; in memory if it lies on a tmpfs."""
    total = 0
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def machine_busy():
    """Seconds all cores worked so far, and seconds that were taken away by other machines."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq) * TICK, steal * TICK


def load_average():
    return os.getloadavg()[0]


def describe():
    """Processor, cores, memory and kernel."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.M)
    meminfo = Path("/proc/meminfo").read_text()
    memory = int(re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.M)[1]) / 2**20
    return {
        "processor": model[1] if model else platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "virtual": "hypervisor" in cpuinfo,
    }
