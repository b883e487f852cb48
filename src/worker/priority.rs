//! How does the screen stay quick while the arithmetic takes all cores?

/// Lets other threads go first: the screen's must never wait for a worker. Where the system knows no
/// such thing, nothing happens.
pub(super) fn step_back() {
    #[cfg(target_os = "linux")]
    {
        const NICER: i32 = 10;
        // On Linux this is the calling thread alone. Failing, the screen is a little less quick.
        let _ = rustix::process::setpriority_process(None, NICER);
    }
}

/// The same for the threads that share the arithmetic. Once a process, before the first product.
pub(super) fn arithmetic_steps_back() {
    // A pool that exists already keeps its priority.
    let _ = rayon::ThreadPoolBuilder::new().start_handler(|_| step_back()).build_global();
}
