"""Users, groups and service principals, as SCIM clients handle them.

Everybody who has a token of the workspace may read all of it: a list of members is of no use to one who does not see
whom it names. Admins change it; others change their own display name and name only.
"""
