//! What every engine promises, run against the real ones: the same cases for `linux` and `process`, then what only
//! containers promise.
//!
//! The cases for `linux` need root. Each runs in a network namespace of its own, so that they can run in parallel and
//! leave the machine's network as it was.

mod bed;
mod cases;
mod disk;
mod linux;
mod network;

/// Makes one test per case and engine.
macro_rules! for_both_engines {
    ($($case:ident)*) => {
        mod linux_engine {
            $(#[test] fn $case() { crate::bed::linux(async |bed| crate::cases::$case(&bed).await); })*
        }
        mod process_engine {
            $(#[test] fn $case() { crate::bed::process(async |bed| crate::cases::$case(&bed).await); })*
        }
    };
}

for_both_engines! {
    output_is_logged_by_stream_and_line
    the_exit_status_is_the_commands
    an_end_by_signal_is_128_and_its_number
    terminate_lets_the_command_clean_up
    kill_ends_a_command_that_ignores_terminate
    environment_survives_byte_for_byte_and_is_on_no_disk
    a_program_that_does_not_exist_is_an_error_and_leaves_nothing
    later_layers_win_and_writing_leaves_them_alone
    usage_counts_output_and_files
    listeners_are_found_with_their_process
    background_processes_end_with_the_command
    folders_deeper_than_any_path_are_cleared_away
    a_container_that_has_ended_can_still_be_adopted
    sweep_removes_what_nobody_knows
    many_start_and_end_at_the_same_time
}
