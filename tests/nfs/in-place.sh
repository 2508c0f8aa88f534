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
check "in place: without volume.fresh, when the client's cache has aged" took eventually on_well in-place-lazy "$version"
note "in place: without volume.fresh, another $TOOK ms later"
inpod A sh -c "mkdir $DAGS/new && echo 1 >$DAGS/new/dag.py && rm -r $DAGS/team0"
version=$(version_of "$ON_SERVER/dags")
check "in place: a new folder and a removed one are reported" eventually on_well in-place-dags "$version"
check "in place: nothing is copied" eval '[ "$(find /tmp/in-place-B -name "*.py" 2>/dev/null | wc -l)" = 0 ]'
check "in place: nothing is written to the volume" eval '[ "$(ls -A "$ON_SERVER/dags" | tr "\n" " ")" = "common generation new team1 team2 " ]'
end_all

repository
commit 1
daemon in-place-writer A source=file://$REPOSITORY git.depth=0 root="$AT/store" keep.versions=2 keep.age=0s
check "store: it is written" eventually on_well in-place-writer "$VERSION"
daemon in-place-copy B source="$AT/store" root=/tmp/in-place-B3 volume.mode=copy volume.settle=1s keep.versions=1000
daemon in-place-lives C source="$AT/store" root=/tmp/in-place-C volume.mode=in-place
check "store: both readers are on it" eventually on_well in-place-copy in-place-lives "$VERSION"
: >/tmp/known-store
echo "$VERSION" >>/tmp/known-store
for n in {2..16}; do
    commit "$n"
    echo "$VERSION" >>/tmp/known-store
    [ $((n % 4)) != 0 ] || check "store: both readers follow to generation $n" eventually on_well in-place-copy in-place-lives "$VERSION"
done
check "store: the writer prunes" eventually eval '[ "$(ls "$ON_SERVER/store/versions" | wc -l)" -le 2 ]'
check "store: all that was copied was a version of the store" python3 verify.py /tmp/in-place-B3 /tmp/known-store
note "$(ls /tmp/in-place-B3/versions | wc -l) of 16 versions were copied"
check "store: nothing is copied by the reader in place" eval '[ "$(find /tmp/in-place-C -name "*.py" 2>/dev/null | wc -l)" = 0 ]'
note "warnings of the readers: $(grep -c '"level":"\(WARN\|ERROR\)"' "$LOGS/in-place-copy.log") copy, $(grep -c '"level":"\(WARN\|ERROR\)"' "$LOGS/in-place-lives.log") in place"
