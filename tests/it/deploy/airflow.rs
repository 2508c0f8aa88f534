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
    what_no_pod_would_survive_is_refused
    what_is_left_out_on_purpose_is_not_refused
    airflow_reads_what_dagsync_publishes
    kubernetes_takes_every_object
    every_pod_with_dagsync_has_the_role
    what_is_written_twice_is_the_same
    flux_reads_these_files
    the_guide_names_files_that_there_are
    the_guides_values_are_taken
    the_guides_costs_are_those_of_the_values
}
