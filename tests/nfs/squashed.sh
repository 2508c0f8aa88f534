# Every user of the volume is mapped to one, as an access point does; then root alone is mapped to nobody.
repository
commit 1
store_is_on() { [[ $(readlink "$ON_SERVER/$1/current") = versions/$2* ]]; }
reexport rw,sync,no_subtree_check,insecure,fsid=0,all_squash,anonuid=50000,anongid=0
cp -r $REPOSITORY /tmp/dags-airflow.git && chown -R 50000:0 /tmp/dags-airflow.git
daemon squashed-root A source=file://$REPOSITORY git.depth=0 root="$AT/by-root" lease=6s
daemon squashed-airflow C -u airflow source=file:///tmp/dags-airflow.git git.depth=0 root="$AT/by-airflow" lease=6s
for who in root airflow; do
    check "squashed: $who publishes" eventually on_well squashed-$who "$VERSION"
    check "squashed: what $who published is whole" whole "$ON_SERVER/by-$who"
    check "squashed: what $who published belongs to the one user" \
        eval '[ -z "$(find "$ON_SERVER/by-$who" ! -user 50000 -print -quit)" ]'
done
# One store for both: nobody's files are foreign here.
daemon squashed-standby D source=file://$REPOSITORY git.depth=0 root="$AT/by-airflow" lease=6s
end squashed-airflow
commit 2
check "squashed: root takes over the store of airflow" eventually store_is_on by-airflow "$VERSION"
check "squashed: and publishes into it" eventually on_well squashed-standby "$VERSION"
end_all

# Like the default of an NFS server. The store lies in a folder that root made before.
reexport rw,sync,no_subtree_check,insecure,fsid=0,root_squash
daemon squashed-nobody A source=file://$REPOSITORY git.depth=0 root="$AT/by-root" lease=6s
check "squashed: root as nobody says what it may not" eventually fails squashed-nobody 'ermission denied|not permitted|belongs'
note "root as nobody: $(problem squashed-nobody)"
end_all
server_readwrite
daemon squashed-healed A source=file://$REPOSITORY git.depth=0 root="$AT/by-root" lease=6s
check "squashed: with its rights back, root publishes" eventually on_well squashed-healed "$VERSION"
chown -R 0:0 "$ON_SERVER/by-root" && chmod 755 "$ON_SERVER/by-root"
end_all
daemon squashed-foreign C -u airflow source=file:///tmp/dags-airflow.git git.depth=0 root="$AT/by-root" lease=6s
check "squashed: a store of another user is refused with words" eventually fails squashed-foreign 'ermission denied|not permitted|belongs'
note "airflow on root's store: $(problem squashed-foreign)"
rm -rf /tmp/dags-airflow.git
