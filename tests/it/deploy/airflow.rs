//! The values for the official Airflow chart, through a chart that stands in for it, what Flux makes of them, and the guide.
//! `tests/deploy/airflow/check` does the same with the official one.

use super::script;
use crate::harness::run;

/// The checks of tests/deploy/airflow/standin.py.
macro_rules! checks {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(script("airflow/standin.py").arg(stringify!($name))); })*

        #[test]
        fn every_check_is_run() {
            assert_eq!(run(&mut script("airflow/standin.py")), [$(stringify!($name)),*].join("\n"));
        }
    };
}

checks! {
    the_binary_takes_every_file_and_argument
    a_setting_that_there_is_not_is_refused
    the_flag_chooses_among_what_was_given
    a_flag_without_its_file_is_refused
    airflow_reads_what_dagsync_publishes
    kubernetes_takes_every_object
    volumes_and_mounts_fit_together
    what_is_written_twice_is_the_same
    flux_reads_these_files
    the_guide_names_files_that_there_are
    the_guides_values_are_taken
}
