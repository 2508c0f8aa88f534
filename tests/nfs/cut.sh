# A pod's network to the volume is cut. The mount is hard, so every call into it hangs until the network is back.
DAGS=$AT/dags
tree "$ON_SERVER/dags" 1
first=$VERSION
daemon cut-copy B source="$DAGS" root=/tmp/cut-B volume.mode=copy volume.settle=1s timeout=5s
daemon cut-in-place B source="$DAGS" root=/tmp/cut-B2 volume.mode=in-place timeout=5s
daemon cut-other C source="$DAGS" root=/tmp/cut-C volume.mode=copy volume.settle=1s timeout=5s
check "cut: all are on the first version" eventually on_well cut-copy cut-in-place cut-other "$first"
threads() { awk '/^Threads:/ {print $2}' "/proc/${PID[$1]}/status"; }
before=$(threads cut-copy) before_in_place=$(threads cut-in-place)

for round in 1 2; do
    partition_start B
    tree "$ON_SERVER/dags" $((round * 10))
    next=$VERSION
    check "cut $round: a pod that is not cut goes on" eventually on_well cut-other "$next"
    for name in cut-copy cut-in-place; do
        check "cut $round: $name says that the volume does not answer" eventually fails $name 'does not answer|still hangs|did not end'
        note "$name: $(problem $name)"
    done
    check "cut $round: the copy is served meanwhile" on cut-copy "$first"
    most=0 most_in_place=0 slowest=0 silent=''
    for _ in {1..10}; do
        for name in cut-copy cut-in-place; do
            answer=$(curl -s -m 5 -o /dev/null -w '%{time_total}' "${URL[$name]}/v1/status") || silent="$silent $name"
            answer=${answer/./} answer=$((10#$answer / 1000)) # from seconds with six digits to milliseconds
            [ "$answer" -le $slowest ] || slowest=$answer
        done
        n=$(threads cut-copy); [ "$n" -le $most ] || most=$n
        n=$(threads cut-in-place); [ "$n" -le $most_in_place ] || most_in_place=$n
        sleep 1
    done
    note "cut: threads $before before, $most at the most; in place $before_in_place, $most_in_place; slowest answer $slowest ms"
    check "cut $round: HTTP answers all the time" equal "$silent" ''
    check "cut $round: threads do not pile up" [ "$most" -le $((before + 8)) ]
    check "cut $round: threads do not pile up in place" [ "$most_in_place" -le $((before_in_place + 8)) ]
    check "cut $round: it still is live and ready" curl -sf -m 5 -o /dev/null -o /dev/null "${URL[cut-copy]}/livez" "${URL[cut-copy]}/readyz"
    partition_heal B
    check "cut $round: both are on the new version once it is healed" took eventually on_well cut-copy cut-in-place "$next"
    note "cut: on the new version $((TOOK / 1000)) s after it was healed"
    first=$next
done

partition_start B
eventually fails cut-copy 'does not answer|still hangs|did not end'
for name in cut-copy cut-in-place; do
    kill -TERM "${PID[$name]}"
    check "cut: $name ends on SIGTERM while the volume hangs" took wait_until 30 eval "! kill -0 ${PID[$name]} 2>/dev/null"
    note "$name ended $TOOK ms after SIGTERM"
done
daemon cut-started B source="$DAGS" root=/tmp/cut-B volume.mode=copy volume.settle=1s timeout=5s
check "cut: started during the cut, the copy of before is ready" eventually curl -sf -m 5 -o /dev/null "${URL[cut-started]}/readyz"
check "cut: it is the last version" on cut-started "$first"
partition_heal B
