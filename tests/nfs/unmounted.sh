# The volume is not mounted: its mount point is an empty folder, and no reason to delete every DAG.
tree "$ON_SERVER/dags" 1
first=$VERSION
pod_mount B /mnt/other
inside() { nsenter -t "${PID[$1]}" --mount --net -- "${@:2}"; }
for mode in copy in-place; do
    name=unmounted-$mode
    daemon $name B source=/mnt/other/unmounted/dags root=/tmp/$name volume.mode=$mode volume.settle=1s volume.require_mount=nfs4
    check "unmounted, $mode: the first version is there" eventually on_well $name "$first"
    inside $name umount -l /mnt/other
    check "unmounted, $mode: it says so" eventually fails $name 'mount'
    note "$mode: $(problem $name)"
    check "unmounted, $mode: the version of before is reported" throughout 5 on $name "$first"
    inside $name mkdir -p /mnt/other/unmounted/dags
    check "unmounted, $mode: an empty folder in its place is no volume" throughout 5 fails $name 'mount'
    check "unmounted, $mode: nor does it change the version" on $name "$first"
    note "$mode: $(problem $name)"
    inside $name rm -rf /mnt/other/unmounted
    tree "$ON_SERVER/dags" 2
    next=$VERSION
    inside $name mount -t nfs4 -o "$NFSVM_MOUNT_OPTS" "$SRV_IP:/" /mnt/other
    check "unmounted, $mode: mounted again, the new version is there" eventually on_well $name "$next"
    tree "$ON_SERVER/dags" 1
    check "unmounted, $mode: and followed" eventually on_well $name "$first"
done
check "unmounted: the copy was never empty" python3 verify.py /tmp/unmounted-copy <(printf '%s\n' "$first" "$next")
mkdir -p /mnt/never
daemon unmounted-never C source=/mnt/never root=/tmp/unmounted-never volume.mode=copy volume.require_mount=nfs4
check "unmounted: a folder that never was a mount is refused" eventually fails unmounted-never 'mount'
note "never mounted: $(problem unmounted-never)"
check "unmounted: nothing is published" [ ! -e /tmp/unmounted-never/current ]
check "unmounted: it is not ready" eval '! curl -sf -m 5 -o /dev/null "${URL[unmounted-never]}/readyz"'
end_all
umount /mnt/other
rmdir /mnt/never
