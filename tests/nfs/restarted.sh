# The server restarts and forgets who its clients were and what they had locked.
repository
commit 1
daemon restarted-writer A source=file://$REPOSITORY git.depth=0 root="$AT/store" lease=6s
eventually on restarted-writer "$VERSION"
daemon restarted-standby C source=file://$REPOSITORY git.depth=0 root="$AT/store" lease=6s
daemon restarted-copy B source="$AT/store" root=/tmp/restarted-B volume.mode=copy volume.settle=1s
daemon restarted-in-place D source="$AT/store" root=/tmp/restarted-D volume.mode=in-place
all=(restarted-writer restarted-standby restarted-copy restarted-in-place)
check "restarted: all are on the first version" eventually on_well "${all[@]}" "$VERSION"
generation=1
for lose in 0 1 1; do
    name="restarted, $([ $lose = 1 ] && echo 'clients forgotten' || echo 'clients remembered')"
    LOSE_STATE=$lose server_restart 1
    commit $((++generation))
    check "$name: all are on the next version" took eventually on_well "${all[@]}" "$VERSION"
    note "$name: all on the next version after $((TOOK / 1000)) s (grace period $NFSVM_LEASE s)"
    check "$name: it was published once" equal "$(published "$VERSION" restarted-writer restarted-standby)" 1
    check "$name: current is whole" whole "$ON_SERVER/store"
done
