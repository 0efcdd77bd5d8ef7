//! Users.

use model::ids::UserId;
use model::secret::Secret;
use sqlx::sqlite::SqliteRow;

use crate::error::{Result, Tried};
use crate::records::User;
use crate::rows;
use crate::{Store, now_us};

fn user(row: &SqliteRow) -> Result<User> {
    Ok(User {
        id: rows::parsed(row, "guid")?,
        username: rows::text(row, "username")?,
        password_hash: Secret::new(rows::text(row, "password_hash")?),
        created_us: rows::big(row, "created_us")?,
    })
}

impl Store {
    pub async fn insert_user(&self, username: &str, password_hash: &Secret) -> Result<User> {
        let id = UserId::random();
        let now = now_us();
        sqlx::query(
            "INSERT INTO users (guid, username, password_hash, created_us) VALUES ($1, $2, $3, $4)",
        )
        .bind(id.to_string())
        .bind(username)
        .bind(password_hash.expose())
        .bind(now)
        .execute(&self.writer)
        .await
        .tried("insert a user")?;
        Ok(User {
            id,
            username: username.to_owned(),
            password_hash: password_hash.clone(),
            created_us: now,
        })
    }

    pub async fn set_password_hash(&self, id: UserId, password_hash: &Secret) -> Result<()> {
        sqlx::query("UPDATE users SET password_hash = $2 WHERE guid = $1")
            .bind(id.to_string())
            .bind(password_hash.expose())
            .execute(&self.writer)
            .await
            .tried("update a password")?;
        Ok(())
    }

    pub async fn find_user_by_name(&self, username: &str) -> Result<Option<User>> {
        let row = sqlx::query("SELECT * FROM users WHERE username = $1")
            .bind(username)
            .fetch_optional(&self.reader)
            .await
            .tried("find a user")?;
        row.as_ref().map(user).transpose()
    }

    /// By name.
    pub async fn list_users(&self) -> Result<Vec<User>> {
        let found = sqlx::query("SELECT * FROM users ORDER BY username")
            .fetch_all(&self.reader)
            .await
            .tried("list users")?;
        found.iter().map(user).collect()
    }

    pub async fn find_user(&self, id: UserId) -> Result<Option<User>> {
        let row = sqlx::query("SELECT * FROM users WHERE guid = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .tried("find a user")?;
        row.as_ref().map(user).transpose()
    }
}
