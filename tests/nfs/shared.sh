# One store on the volume, five daemons in four pods over it, a reader in the fifth: whatever happens to the writer, one of
# the others takes over, one alone publishes, and nobody ever reads a torn version or an older one than before.
STORE=$AT/store
names=(shared-a shared-a2 shared-c shared-d shared-e)
declare -A pod=([shared-a]=A [shared-a2]=A [shared-c]=C [shared-d]=D [shared-e]=E)

start() { daemon "$1" "${pod[$1]}" source=file://$REPOSITORY git.depth=0 root=$STORE lease=6s keep.versions=50; }
is_writer() { says "$1" '"writer":true'; }
is_standby() { says "$1" '"state":"standby"'; }
# writers: the names of those who say that they write
writers() { local name; for name in "${names[@]}"; do [ -z "${PID[$name]:-}" ] || ! is_writer "$name" || echo "$name"; done; }
one_writer() { WRITER=$(writers); [ -n "$WRITER" ] && [ "$(wc -l <<<"$WRITER")" = 1 ]; }
others() { local name; for name in "${names[@]}"; do [ "$name" = "$1" ] || echo "$name"; done; }
is_current() { [[ $(readlink /mnt/watch/shared/store/current) = versions/$1* ]]; }
published_once() { equal "$(published "$VERSION" "${names[@]}")" 1; }

repository
commit 1
pod_mount B /mnt/watch noac,lookupcache=none
for name in "${names[@]}"; do start "$name"; done
check "shared: the store gets its first version" eventually is_current "$VERSION"
inpod B python3 /payload/watch.py /mnt/watch/shared/store >"$LOGS/shared-watch.log" 2>&1 & watch=$!
check "shared: exactly one of five daemons says that it writes" eventually one_writer
note "the writer is $WRITER"
for name in $(others "$WRITER"); do
    check "shared: $name stands by" eventually is_standby "$name"
    check "shared: $name serves the writer's version" eventually on "$name" "$VERSION"
done
commit 2
check "shared: a new commit becomes current" eventually is_current "$VERSION"
check "shared: it was published once" published_once

generation=2
for round in 1 2; do
    eventually one_writer; old=$WRITER
    kill -KILL "${PID[$old]}"; wait "${PID[$old]}" 2>/dev/null
    commit $((++generation))
    check "killed $round: another daemon publishes" took eventually is_current "$VERSION"
    note "kill -9 of $old: the next commit is current after $((TOOK / 1000)) s"
    check "killed $round: it was published once" published_once
    start "$old"
    check "killed $round: exactly one writes" eventually one_writer
    check "killed $round: $old, started again, stands by" eventually is_standby "$old"
done

# At some moment of a publish, each time another one.
for delay in 0.3 1 2; do
    eventually one_writer; old=$WRITER
    commit $((++generation)); sleep $delay
    kill -STOP "${PID[$old]}"
    check "stopped at $delay s: the commit becomes current" took eventually is_current "$VERSION"
    note "SIGSTOP of $old $delay s after a commit: current after $((TOOK / 1000)) s"
    commit $((++generation))
    check "stopped at $delay s: another daemon publishes the next" took eventually is_current "$VERSION"
    note "SIGSTOP of $old: the commit after is current after $((TOOK / 1000)) s"
    kill -CONT "${PID[$old]}"
    check "stopped at $delay s: $old, continued, stands by" eventually is_standby "$old"
    check "stopped at $delay s: current stays" throughout 3 is_current "$VERSION"
    check "stopped at $delay s: exactly one writes" eventually one_writer
    check "stopped at $delay s: it was published once" published_once
done

# Whoever stands by must see a new lock, although the one before is open in a process that lives.
eventually one_writer; first=$WRITER
kill -STOP "${PID[$first]}"
commit $((++generation))
check "stopped twice: the commit becomes current" eventually is_current "$VERSION"
second=$(for name in $(others "$first"); do ! is_writer "$name" || echo "$name"; done)
for name in $(others "$first"); do
    [ "$name" = "$second" ] || check "stopped twice: $name stands by $second" took eventually is_standby "$name"
    note "$name stands by $second after $((TOOK / 1000)) s"
done
kill -STOP "${PID[$second]}"
commit $((++generation))
check "stopped twice: a third daemon publishes" took eventually is_current "$VERSION"
note "SIGSTOP of $first and then of $second: the next commit is current after $((TOOK / 1000)) s"
kill -CONT "${PID[$second]}" "${PID[$first]}"
check "stopped twice: both stand by" eventually eval 'is_standby $first && is_standby $second'
check "stopped twice: exactly one writes" eventually one_writer
check "stopped twice: it was published once" published_once

eventually one_writer; old=$WRITER
partition_start "${pod[$old]}"
commit $((++generation))
check "cut off: another pod's daemon publishes" took eventually is_current "$VERSION"
note "the network of $old cut: the commit is current after $((TOOK / 1000)) s"
sleep $((NFSVM_LEASE + 5))
check "cut off: $old no longer says that it writes" eval 'PATIENCE=20 eventually eval "! is_writer \$old"'
partition_heal "${pod[$old]}"
check "cut off: $old, healed, stands by" eventually is_standby "$old"
check "cut off: current stays" throughout 3 is_current "$VERSION"
check "cut off: it was published once" published_once
commit $((++generation))
check "cut off: the next commit becomes current" eventually is_current "$VERSION"
check "cut off: it was published once" published_once
check "cut off: all five serve it" eventually on "${names[@]}" "$VERSION"

eventually one_writer; old=$WRITER
end "$old"
commit $((++generation))
check "ended: another daemon publishes" took eventually is_current "$VERSION"
note "SIGTERM of $old: the next commit is current after $((TOOK / 1000)) s"
check "ended: it was published once" published_once

kill -TERM $watch
check "shared: the reader never saw a torn or an older version" wait $watch
note "$(tail -1 "$LOGS/shared-watch.log")"
check "shared: every version in the store is whole" inpod B python3 /payload/verify.py /mnt/watch/shared/store
for name in "${names[@]}"; do
    check "shared: $name was never confused by what its NFS client remembers" eval '! logged $name "open lock[^\"]*Stale file handle"'
done
end_all
umount /mnt/watch
