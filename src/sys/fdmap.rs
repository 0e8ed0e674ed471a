//! Arranging descriptors in a child: dup(2), dup2(2).
