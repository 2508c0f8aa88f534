# No room on the volume, then a read-only volume.
repository
commit 1
daemon full-writer A source=file://$REPOSITORY git.depth=0 root="$AT/store" lease=6s
eventually on_well full-writer "$VERSION"
daemon full-standby C source=file://$REPOSITORY git.depth=0 root="$AT/store" lease=6s
mkdir "$ON_SERVER/dags" && cp -r $WORK/. "$ON_SERVER/dags"
daemon full-copy B source="$AT/dags" root=/tmp/full-B volume.mode=copy volume.settle=1s
daemon full-store D source="$AT/store" root=/tmp/full-D volume.mode=copy volume.settle=1s
check "full: all are on the first version" eventually on_well full-writer full-standby full-copy full-store "$VERSION"
first=$VERSION

room_is_gone() { fails full-writer 'No space left|full' || fails full-standby 'No space left|full'; }
store_is_on() { [[ $(readlink "$ON_SERVER/store/current") = versions/$1* ]]; }
fill_disk 0
commit 2 3000000
check "full: the writer says that the volume has no room" eventually room_is_gone
note "full: $(problem full-writer)"
note "full, standby: $(problem full-standby)"
check "full: current stays" throughout 10 store_is_on "$first"
check "full: current is whole" whole "$ON_SERVER/store"
check "full: readers serve it" on full-copy full-store "$first"
free_disk
check "full: with room again, the writer publishes" took eventually on_well full-writer "$VERSION"
note "full: published $((TOOK / 1000)) s after there was room"
check "full: the reader of the store follows" eventually on_well full-store "$VERSION"
check "full: it was published once" equal "$(published "$VERSION" full-writer full-standby)" 1
check "full: current is whole afterwards" whole "$ON_SERVER/store"
check "full: nothing is left in the staging folder" eventually eval '[ -z "$(ls -A $ON_SERVER/store/.dagsync/staging)" ]'

server_readonly
is_read_only() { fails full-writer 'Read-only file system|read-only' || fails full-standby 'Read-only file system|read-only'; }
before=$VERSION
tree "$ON_SERVER/dags" 4
check "read-only: a reader copies what changes on the server" eventually on_well full-copy "$VERSION"
commit 5
check "read-only: the writer says so" eventually is_read_only
note "read-only: $(problem full-writer)"
note "read-only, standby: $(problem full-standby)"
check "read-only: current is whole" whole "$ON_SERVER/store"
check "read-only: the reader of the store serves it" on_well full-store "$before"
server_readwrite
check "read-only: writable again, it is published" eventually store_is_on "$VERSION"
check "read-only: the reader of the store follows" eventually on_well full-store "$VERSION"
