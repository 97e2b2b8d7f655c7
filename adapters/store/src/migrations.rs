//! The steps that bring the schema up to date, compiled in. A step that was released is final: a
//! later one mends it. They are listed by hand because the macro that finds them would compile
//! the whole database driver a second time in every build.

use std::borrow::Cow;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

const STEPS: [(i64, &str, &str); 4] = [
    (1, "initial", include_str!("../migrations/0001_initial.sql")),
    (2, "purges", include_str!("../migrations/0002_purges.sql")),
    (3, "meter reports", include_str!("../migrations/0003_meter_reports.sql")),
    (4, "event hashes", include_str!("../migrations/0004_event_hashes.sql")),
];

/// What takes a database of any age to the present schema.
pub(crate) fn migrator() -> Migrator {
    let step = |(version, description, sql)| {
        let (description, sql) = (Cow::Borrowed(description), SqlStr::from_static(sql));
        Migration::new(version, description, MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(STEPS.into_iter().map(step).collect())
}
