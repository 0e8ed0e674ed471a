//! Starting a worker: fork(2), the steps of the child, execve(2).
