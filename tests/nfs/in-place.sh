# The volume itself is the DAG folder of a pod; and stores on the volume that another dagsync writes and prunes.
DAGS=$AT/dags
tree "$ON_SERVER/dags" 1
version=$VERSION
daemon in-place-dags B source="$DAGS" root=/tmp/in-place-B volume.mode=in-place volume.settle=1s volume.fresh=true
daemon in-place-lazy C source="$DAGS" root=/tmp/in-place-C volume.mode=in-place volume.settle=1s
check "in place: the version of the folder is reported" eventually on_well in-place-dags in-place-lazy "$version"
for n in 2 3 4; do
    inpod A python3 -c 'import sys; open(sys.argv[1] + "/team1/dag1.py", "r+b").write(b"# %d" % int(sys.argv[2]))' "$DAGS" $n
    version=$(version_of "$ON_SERVER/dags")
    check "in place: edit $n from another pod is reported" took eventually on_well in-place-dags "$version"
    note "in place: an edit of equal size is reported after $TOOK ms"
done
inpod A sh -c "mkdir $DAGS/new && echo 1 >$DAGS/new/dag.py && rm -r $DAGS/team0"
version=$(version_of "$ON_SERVER/dags")
check "in place: a new folder and a removed one are reported" eventually on_well in-place-dags "$version"
check "in place: so they are without volume.fresh, in the client's time" eventually on_well in-place-lazy "$version"
check "in place: nothing is copied" eval '[ "$(find /tmp/in-place-B -name "*.py" 2>/dev/null | wc -l)" = 0 ]'
check "in place: nothing is written to the volume" eval '[ "$(ls -A "$ON_SERVER/dags" | tr "\n" " ")" = "common generation new team1 team2 " ]'
end in-place-dags

# The hardest store to read: its writer has it on a local disk, which is the volume's, and removes what is old at once.
repository
commit 1
daemon in-place-writer A source=file://$REPOSITORY git.depth=0 root="$ON_SERVER/store" keep.versions=2 keep.age=0s
check "store: it is written" eventually on_well in-place-writer "$VERSION"
daemon in-place-copy B source="$AT/store" root=/tmp/in-place-B2 volume.mode=copy volume.settle=1s keep.versions=1000
daemon in-place-lives C source="$AT/store" root=/tmp/in-place-C2 volume.mode=in-place
check "store: both readers are on it" eventually on_well in-place-copy in-place-lives "$VERSION"
echo "$VERSION" >/tmp/known-store
# Another, whose writer has it over NFS: its readers may believe an old link for a minute.
_git branch -q early
daemon in-place-remote D source=file://$REPOSITORY git.ref=early git.depth=0 root="$AT/remote" \
    keep.versions=1 keep.age=0s scrub.interval=5s
check "store: the remote one is written" eventually on_well in-place-remote "$VERSION"
inpod E python3 /payload/watch.py "$AT/remote" 0.5 >"$LOGS/in-place-watch.log" 2>&1 & watch=$!
for n in {2..16}; do
    commit "$n"
    [ "$n" != 2 ] || { _git branch -qf early && check "store: it gets a second version" eventually on_well in-place-remote "$VERSION"; }
    echo "$VERSION" >>/tmp/known-store
    [ $((n % 4)) != 0 ] || check "store: both readers follow to generation $n" eventually on_well in-place-copy in-place-lives "$VERSION"
done
check "store: the writer prunes" eventually eval '[ "$(ls "$ON_SERVER/store/versions" | wc -l)" -le 3 ]'
check "store: all that was copied was a version of the store" python3 verify.py /tmp/in-place-B2 /tmp/known-store
note "$(ls /tmp/in-place-B2/versions | wc -l) of 16 versions were copied"
check "store: nothing is copied by the reader in place" eval '[ "$(find /tmp/in-place-C2 -name "*.py" 2>/dev/null | wc -l)" = 0 ]'
note "warnings of the readers: $(grep -c '"level":"\(WARN\|ERROR\)"' "$LOGS/in-place-copy.log") copy, $(grep -c '"level":"\(WARN\|ERROR\)"' "$LOGS/in-place-lives.log") in place"
is_kept() { [ "$(ls "$ON_SERVER/remote/versions" | wc -l)" = 2 ]; }
check "store: over NFS, an old version stays as long as a client may believe the old link" is_kept

# Files that nobody has touched for a minute: now the client believes what it knows of them for the longest.
inpod A sh -c "echo '# edited' >$DAGS/team2/dag2.py"
version=$(version_of "$ON_SERVER/dags")
check "in place: without volume.fresh, an edit is reported when the client has forgotten" took eventually on_well in-place-lazy "$version"
note "in place: without volume.fresh, the edit of an old file is reported after $TOOK ms"
check "store: over NFS, it goes in the end" eval 'PATIENCE=240 eventually eval "! is_kept"'
kill -TERM $watch
check "store: a reader with an ordinary mount never missed a file" wait $watch
note "$(tail -1 "$LOGS/in-place-watch.log")"
