"""The embedded PostgreSQL and S3 of a repository.

`state` knows ports and credentials, `postgres` and `seaweedfs` one server each, `lifecycle` what a user
asks for.
"""
