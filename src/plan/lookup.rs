//! The directory from which relative names are looked up, as the user knows it: `$PWD`, where that names the directory we
//! were started in through a symbolic link. A release that is made current by another link is found there by the next
//! generation; by getcwd(3) it would not be.

use std::path::Path;

use super::{Launch, Plan};

impl Plan {
    /// Has workers work in `directory`, which is looked up anew for each generation, and everything relative that a
    /// generation needs looked up from there.
    pub fn look_up_from(&mut self, directory: &Path) {
        for group in &mut self.groups {
            group.launch.look_up_from(directory);
        }
    }
}

impl Launch {
    fn look_up_from(&mut self, directory: &Path) {
        self.directory = Some(match self.directory.take() {
            None => directory.to_owned(),
            Some(own) => directory.join(own),
        });
        for file in &mut self.env.files {
            *file = directory.join(&*file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_relative_is_looked_up_from_there_and_nothing_else() {
        for (own, looked_up) in
            [(None, "/srv/current"), (Some("sub"), "/srv/current/sub"), (Some("/else"), "/else")]
        {
            let mut launch = Launch { directory: own.map(Into::into), ..Launch::new("./app".into()) };
            launch.env.files = vec![".env".into(), "/etc/env".into()];
            launch.look_up_from(Path::new("/srv/current"));
            assert_eq!(launch.directory.as_deref(), Some(Path::new(looked_up)));
            assert_eq!(launch.env.files, [Path::new("/srv/current/.env"), Path::new("/etc/env")]);
        }
    }
}
