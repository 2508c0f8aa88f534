#!/bin/bash
# Runs in the VM: every scenario, or those in $GT_SCENARIOS. Each is a file of its own and starts on an empty folder $AT of
# the volume; /mnt/efs is the volume in every pod.
. "$NFSVM_LIB"
cd /payload || exit
. ./pods.sh
ALL='replaced shared restarted cut full squashed in-place unmounted'

dagsync --version >"$LOGS/version" 2>&1 ||
    { fail "the binary runs in the VM: $(head -1 "$LOGS/version")"; finish; }
note "$(cat "$LOGS/version"), Linux $(uname -r), ${NFSVM_ACCEL}, $(awk '$2=="/mnt/podA"{print $3, $4}' /proc/mounts)"

for scenario in ${GT_SCENARIOS:-$ALL}; do
    note "=== $scenario"
    _began=$SECONDS _failed=$_KO
    AT=/mnt/efs/$scenario ON_SERVER=$EXPORT_DIR/$scenario
    mkdir -p "$ON_SERVER" && chown 50000:0 "$ON_SERVER" && chmod 775 "$ON_SERVER"
    . "./$scenario.sh"
    end_all
    rm -rf "$ON_SERVER"
    note "$scenario took $((SECONDS - _began)) s"
    if [ $_KO != "$_failed" ]; then
        for log in "$LOGS/$scenario"*.log; do echo "--- the end of $log"; tail -n 8 "$log" | cut -c1-1200; done
    fi
done
finish
