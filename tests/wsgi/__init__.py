"""Tests of OCCI over HTTP: through the front door of the application, in process, under wsgiref's validator."""
